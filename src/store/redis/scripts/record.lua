-- What every script on a record begins with: reads it, and gives back what only Rust can read.
--
-- KEYS[1] the record's key. ARGV: 1 the running day, 2 the first day that is not wholly sealed,
-- 3 the style of the field's name, 4 the user as JSON, 5 text of a stored record that Rust has
-- read, 6 to 8 its room, session and study time as JSON. What follows is the operation's own.
--
-- Values stay JSON text: a Lua number has no room for 64 bits.

local key, today, swept = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2])
local own_field = ARGV[3] == 'spring' and '"data"' or 'data'
local other_field = ARGV[3] == 'spring' and 'data' or '"data"'

local stored, flat = {}, redis.call('HGETALL', key)
for i = 1, #flat, 2 do stored[flat[i]] = flat[i + 1] end
local text = stored[own_field] or stored[other_field]

local function is_room(digits)
  if digits == '0' then return true end
  local bound = digits:sub(1, 1) == '-' and '-9223372036854775808' or '9223372036854775807'
  return digits:find('^%-?[1-9]') ~= nil
    and (#digits < #bound or (#digits == #bound and digits <= bound))
end

-- Room, session and study time of a record exactly as we would write it, else nothing.
local function members()
  local head = '{"userId":' .. ARGV[4] .. ',"roomId":'
  if text:sub(1, #head) ~= head then return end
  local rest, room, session, study = text:sub(#head + 1), nil, nil, nil
  room = rest:match('^null,') and 'null' or rest:match('^(-?%d+),')
  if not room or (room ~= 'null' and not is_room(room)) then return end
  rest = rest:sub(#room + 1)
  session = rest:match('^,"sessionId":(null),') or rest:match('^,"sessionId":("[^"\\%c\128-\255]+"),')
  if not session or #session > 258 then return end
  rest = rest:sub(#',"sessionId":' + #session + 1)
  study = rest:match('^,"studyTime":(null)}$') or rest:match('^,"studyTime":("[^"\\%c\128-\255]*")}$')
  if not study or #study > 66 then return end
  return room, session, study
end

local exists = text ~= nil
local room, session, study = 'null', 'null', 'null'
if exists and ARGV[6] ~= '' and text == ARGV[5] then
  room, session, study = ARGV[6], ARGV[7], ARGV[8]
elseif exists then
  room, session, study = members()
  if not room then return {'PARSE', text} end
end

-- A record of an older program has no day: it is of the first day that may still be unsealed.
local day = exists and (tonumber(stored.day) or swept) or today
-- Whoever calls us lives in the past: the record was already touched two days later.
if day > today + 1 then return {'STALE', string.format('%.0f', day)} end

-- Idle is who was not written to since the previous day was sealed. A time that another program
-- put there counts as written.
local fresh = not stored.idle or study ~= 'null'

local sealed = {}
for field, time in pairs(stored) do
  local of_day = field:match('^sealed:(%d+)$')
  if of_day then sealed[tonumber(of_day)] = time end
end

-- What is to be written: a field's new value, or false if it goes.
local changes = {}

local function put(field, value)
  stored[field], changes[field] = value, value
end

local function drop(field)
  if stored[field] then changes[field] = false end
  stored[field] = nil
end

local function write()
  local sets, drops = {}, {}
  for field, value in pairs(changes) do
    if value then
      sets[#sets + 1] = field
      sets[#sets + 1] = value
    else
      drops[#drops + 1] = field
    end
  end
  if #sets > 0 then redis.call('HSET', key, unpack(sets)) end
  if #drops > 0 then redis.call('HDEL', key, unpack(drops)) end
end

local function seal(of_day, time)
  sealed[of_day] = time
  put(string.format('sealed:%.0f', of_day), time)
end

-- Sets aside what belongs to a closed day; says whether there was anything.
local function settle()
  if not exists or day >= today then return false end
  if fresh or not next(sealed) then seal(day, study) end
  study, day, fresh = 'null', today, false
  drop('listed')
  return true
end

local function save()
  local head = '{"userId":' .. ARGV[4] .. ',"roomId":' .. room
  put(own_field, head .. ',"sessionId":' .. session .. ',"studyTime":' .. study .. '}')
  put('day', string.format('%.0f', day))
  if fresh then drop('idle') else put('idle', '1') end
  write()
end

-- Whether the record's session was closed: `closed` is who closed it (16 characters), and which.
local function is_closed()
  return stored.closed ~= nil and stored.closed:sub(18) == session
end

-- Whether the record says that `this` session is its user's live one.
local function holds(this)
  return exists and session == this and session ~= 'null' and not is_closed()
end

-- An operation whose reply was lost is sent again, and others may have come between. So the record
-- knows the latest eight operations, each an id of 16 characters.
local function is_done(operation)
  return stored.by ~= nil and stored.by:find(operation, 1, true) ~= nil
end

local function note_done(operation)
  put('by', (operation .. ' ' .. (stored.by or '')):sub(1, 8 * 17))
end

-- The record as it reads today.
local function answer()
  return {'OK', room, session, day < today and 'null' or study}
end
