-- Runs operations on users' records, one after the other, each by itself: one that fails leaves the
-- others alone.
--
-- KEYS: the record's key of each operation, and the session index's where the operation is on both, which
-- then lie in one server. ARGV: 1 the running day, 2 the first day that is not
-- wholly sealed, 3 the style of the field's name; then of each operation its name, the user as JSON and
-- what it takes. Before a name there may be `sure` if the running day was asked for just now, and `read`
-- with the text of a stored record that Rust has read, and its room, session and study time as JSON.
--
-- Answers a reply for each: the record as it reads today where that is all there is to say, a list that
-- begins with a word, or an error.
--
-- Values stay JSON text: a Lua number has no room for 64 bits. What is common costs no table and no
-- closure: a script of ours takes longer than everything else that Redis does for a request.

local KEYS, ARGV, call = KEYS, ARGV, redis.call
local match, find, sub, byte, format = string.match, string.find, string.sub, string.byte, string.format
local tonumber, next, pairs, unpack = tonumber, next, pairs, unpack

local today, swept = tonumber(ARGV[1]), tonumber(ARGV[2])
local own_field = ARGV[3] == 'spring' and '"data"' or 'data'
local other_field = ARGV[3] == 'spring' and 'data' or '"data"'

-- The record at hand: as Redis has it, and what its text says. The session's index, if it is at hand.
local key, index, flat, text, head
local exists, room, session, study, day, fresh
-- Further fields, as they are and as they were; `sealed` and `replaced` are none where there are none.
local day_text, by, closed, idle, listed, sealed, replaced
local by_then, closed_then, idle_then, listed_then
-- Whether the caller has asked for the running day just now.
local is_sure
-- What is to be written besides: fields and values, and fields that go.
local sets, set_count, drops, drop_count = {}, 0, {}, 0

local texts = { [today] = ARGV[1] }
local function text_of(of_day)
  local known = texts[of_day]
  if not known then
    known = format('%.0f', of_day)
    texts[of_day] = known
  end
  return known
end

local function is_room(digits)
  if digits == '0' then return true end
  if not find(digits, '^%-?[1-9]%d*$') then return false end
  local bound = byte(digits) == 45 and '-9223372036854775808' or '9223372036854775807'
  return #digits < #bound or (#digits == #bound and digits <= bound)
end

-- A string without escapes, of so many bytes at the most, or null.
local function is_plain(json, bytes_min, bytes_max)
  return json == 'null'
    or (byte(json) == 34 and byte(json, -1) == 34 and #json >= bytes_min and #json <= bytes_max)
end

-- Room, session and study time of a record exactly as we would write it, else nothing.
local MEMBERS = '^(-?%w+),"sessionId":("?[^"\\%c\128-\255]*"?),"studyTime":("?[^"\\%c\128-\255]*"?)}$'
local function members()
  if sub(text, 1, #head) ~= head then return end
  local this_room, this_session, this_study = match(text, MEMBERS, #head + 1)
  if not this_room or (this_room ~= 'null' and not is_room(this_room)) then return end
  if not is_plain(this_session, 3, 258) or not is_plain(this_study, 2, 66) then return end
  return this_room, this_session, this_study
end

local function set(field, value)
  sets[set_count + 1], sets[set_count + 2] = field, value
  set_count = set_count + 2
end

local function drop(field)
  drop_count = drop_count + 1
  drops[drop_count] = field
end

-- A field that is none of those that nearly every record has.
local function take(field, value)
  local of_day = match(field, '^sealed:(%d+)$')
  if of_day then
    sealed = sealed or {}
    sealed[tonumber(of_day)] = value
    return
  end
  local left = match(field, '^replaced:(.*)$')
  if left then
    replaced = replaced or {}
    replaced[left] = true
  end
end

-- Reads the record; answers what the caller is told if it can't be worked with.
local function read(user, known_text, known_room, known_session, known_study)
  local other
  flat = call('HGETALL', key)
  head = '{"userId":' .. user .. ',"roomId":'
  text, day_text, by, closed, idle, listed, sealed, replaced = nil, nil, nil, nil, nil, nil, nil, nil
  set_count, drop_count = 0, 0
  for i = 1, #flat, 2 do
    local field, value = flat[i], flat[i + 1]
    if field == own_field then text = value
    elseif field == 'day' then day_text = value
    elseif field == 'by' then by = value
    elseif field == 'closed' then closed = value
    elseif field == 'idle' then idle = value
    elseif field == 'listed' then listed = value
    elseif field == other_field then other = value
    else take(field, value) end
  end
  text = text or other
  by_then, closed_then, idle_then, listed_then = by, closed, idle, listed
  exists = text ~= nil
  if not exists then
    room, session, study = 'null', 'null', 'null'
    day = today
  else
    if known_text == text then
      room, session, study = known_room, known_session, known_study
    else
      room, session, study = members()
      if not room then return {'PARSE', text} end
    end
    -- A record of an older program has no day: it is of the first day that may still be unsealed.
    day = day_text == ARGV[1] and today or tonumber(day_text) or swept
    -- Whoever calls us lives in the past: the record was already touched two days later.
    if day > today + 1 then return {'STALE', text_of(day)} end
  end
  -- Idle is who was not written to since the previous day was sealed. A time that another program put
  -- there counts as written.
  fresh = not idle or study ~= 'null'
end

local function write()
  if by ~= by_then then set('by', by) end
  if closed ~= closed_then then
    if closed then set('closed', closed) else drop('closed') end
  end
  if listed ~= listed_then then
    if listed then set('listed', listed) else drop('listed') end
  end
  if idle ~= idle_then then
    if idle then set('idle', idle) else drop('idle') end
  end
  if set_count > 0 then call('HSET', key, unpack(sets, 1, set_count)) end
  if drop_count > 0 then call('HDEL', key, unpack(drops, 1, drop_count)) end
end

-- Nothing of the record stays but its notes of replaced sessions.
local function clear()
  local notes = {}
  for i = 1, set_count, 2 do
    if find(sets[i], 'replaced:', 1, true) == 1 then
      notes[#notes + 1], notes[#notes + 2] = sets[i], sets[i + 1]
    end
  end
  sets, set_count, drop_count = notes, #notes, 0
  by, closed, idle, listed = by_then, closed_then, idle_then, listed_then
  for i = 1, #flat, 2 do
    local left = match(flat[i], '^replaced:(.*)$')
    if not left or byte(left) ~= 34 or byte(left, -1) ~= 34 then drop(flat[i]) end
  end
end

local function seal(of_day, time)
  sealed = sealed or {}
  sealed[of_day] = time
  set('sealed:' .. text_of(of_day), time)
end

-- Sets aside what belongs to a closed day; says whether there was anything.
local function settle()
  if not exists or day >= today then return false end
  if fresh or not sealed or not next(sealed) then seal(day, study) end
  study, day, fresh, listed = 'null', today, false, nil
  return true
end

local function save()
  text = head .. room .. ',"sessionId":' .. session .. ',"studyTime":' .. study .. '}'
  set(own_field, text)
  if day_text ~= text_of(day) then set('day', text_of(day)) end
  idle = not fresh and (idle or '1') or nil
  write()
end

-- Whether the record says that `this` session is its user's live one: `closed` is who closed which, an
-- operation's id of 16 characters, a colon and the session.
local function holds(this)
  return exists and session == this and session ~= 'null'
    and (closed == nil or sub(closed, 18) ~= session)
end

-- An operation whose reply was lost is sent again, and others may have come between. So the record
-- knows the latest eight operations, each an id of 16 characters.
local function is_done(operation)
  return by ~= nil and find(by, operation, 1, true) ~= nil
end

local function note_done(operation)
  by = by and sub(operation .. ' ' .. by, 1, 136) or operation .. ' '
end

-- The record as it reads today.
local function answer()
  local today_study = day < today and 'null' or study
  return head .. room .. ',"sessionId":' .. session .. ',"studyTime":' .. today_study .. '}'
end

local function forget_note(of_session)
  if replaced and replaced[of_session] then
    replaced[of_session] = nil
    drop('replaced:' .. of_session)
  end
end

local function note_replaced(old)
  replaced = replaced or {}
  replaced[old] = true
  set('replaced:' .. old, '1')
end

-- The user is in a room with a session: room, session, the operation's id, and the user where the index
-- is to lead there. Answers more than the record if there is more: the room and the session with which
-- the user was elsewhere before, to whom the index led if to another, and the sessions that were replaced
-- and whose index may still be there.
-- Done twice it is done once: a replaced session stays noted until its index is gone.
local function open(new_room, new_session, operation, user)
  local is_again = exists and is_done(operation)
  if is_again and not (room == new_room and holds(new_session)) then return {'PAST'} end
  settle()
  local left_room, left_session = 'null', 'null'
  if holds(session) then
    if session ~= new_session then note_replaced(session) end
    if session ~= new_session or room ~= new_room then left_room, left_session = room, session end
  end
  forget_note(new_session)
  closed = nil
  room, session, fresh = new_room, new_session, true
  if not is_again then note_done(operation) end
  save()
  local led_to = ''
  if index then
    local before = redis.pcall('GET', index)
    if before ~= user then call('SET', index, user) end
    if before ~= user and type(before) == 'string' then led_to = before end
  end
  if left_session == 'null' and led_to == '' and not (replaced and next(replaced)) then return text end
  local reply = {'OK', text, left_room, left_session, led_to}
  for old in pairs(replaced or {}) do reply[#reply + 1] = old end
  return reply
end

-- The session is over, unless the record names another one or somebody else closed it before: the
-- session, who closes it: one id an operation, so that it may be repeated.
local function close(of_session, operation)
  local mark = operation .. ':' .. of_session
  if exists and closed ~= mark and is_done(operation) then return {'PAST'} end
  if not exists or session ~= of_session then return {'NOBODY'} end
  if closed == mark then return answer() end
  if not holds(of_session) then return {'NOBODY'} end
  closed = mark
  note_done(operation)
  write()
  return answer()
end

-- The same where the index is at hand, and if it leads to the user: the session, who closes it, the user.
-- The index goes with the step that marks the record, and if that can't be written it stays.
local function close_both(of_session, operation, user)
  local mark = operation .. ':' .. of_session
  if exists and closed == mark and session == of_session then return answer() end
  if exists and is_done(operation) then return {'PAST'} end
  if call('GET', index) ~= user then return {'ELSEWHERE'} end
  local reply = close(of_session, operation)
  call('DEL', index)
  return reply
end

-- The newest study time: the time, the operation's id. Tonight's listing, if there was one, is thereby
-- the last word on its day, and the newer time is the next day's. A repetition counts for nothing.
local function record(time, operation)
  if exists and is_done(operation) then return answer() end
  settle()
  if day == today and listed == ARGV[1] then
    seal(today, study)
    day, listed = today + 1, nil
  end
  study, fresh = time, true
  note_done(operation)
  save()
  return text
end

-- The running day's last word, as signaling lists it at night: the time, null for none, the operation's
-- id.
local function list(time, operation)
  if exists and is_done(operation) then return answer() end
  settle()
  if day == today then
    listed = ARGV[1]
    if time ~= 'null' then study = time end
  elseif sealed and sealed[today] then
    if time ~= 'null' then seal(today, time) end
  elseif not is_sure then
    -- The listed day is closed and delivered: the caller has not heard of it yet.
    return {'STALE', text_of(day)}
  end
  fresh = true
  note_done(operation)
  save()
  return text
end

-- Takes away the note that the session was replaced: its index is gone.
local function let_go(of_session)
  forget_note(of_session)
  write()
  return {'OK', holds(of_session) and '1' or '0'}
end

-- Sets aside what belongs to a closed day: the day whose sealed time is asked for. Answers that time as
-- JSON, empty if there is none, and every day that has one.
local function seal_day(wanted)
  if settle() then save() end
  local reply = {'OK', sealed and sealed[tonumber(wanted)] or ''}
  for of_day in pairs(sealed or {}) do reply[#reply + 1] = text_of(of_day) end
  return reply
end

-- Auth has the sealed time: its day, the time as it was delivered, the session whose index the caller
-- looked up, `live` if it leads to the user, `keep` if a user who is online keeps the record.
-- A record that has nothing more to tell goes. Answers the sessions whose index may still be there then;
-- they stay noted until it is gone, so that this may be done again after a crash. A note that names no
-- session is none of ours, and goes with the record.
local function forget(of, time, looked_up, is_live, keep)
  settle()
  local of_day = tonumber(of)
  if sealed and sealed[of_day] == time then
    sealed[of_day] = nil
    drop('sealed:' .. text_of(of_day))
  end
  if exists then
    local is_online = holds(session) and (session ~= looked_up or is_live == 'live')
    if fresh or (sealed and next(sealed)) or (is_online and keep == 'keep') then
      save()
      return {'OK'}
    end
    if session ~= 'null' then note_replaced(session) end
    clear()
  end
  write()
  local reply = {'OK'}
  for old in pairs(replaced or {}) do
    if byte(old) == 34 and byte(old, -1) == 34 then reply[#reply + 1] = old end
  end
  return reply
end

-- Every operation: what it does, how many arguments it takes, and whether it is on an index too.
local operations = {
  open_both = {open, 4, true}, close_both = {close_both, 3, true},
  open = {open, 3}, close = {close, 2}, record = {record, 2}, list = {list, 2},
  let_go = {let_go, 1}, seal = {seal_day, 1}, forget = {forget, 5},
}

-- The operation under way, the places of the next one's keys and arguments, and what was said so far.
local at, next_key, place, replies, count = 0, 1, 4, {}, #KEYS

local function run()
  while next_key <= count do
    at = at + 1
    key = KEYS[next_key]
    local a, known_text, known_room, known_session, known_study = place, nil, nil, nil, nil
    is_sure = ARGV[a] == 'sure'
    if is_sure then a = a + 1 end
    if ARGV[a] == 'read' then
      known_text, known_room = ARGV[a + 1], ARGV[a + 2]
      known_session, known_study = ARGV[a + 3], ARGV[a + 4]
      a = a + 5
    end
    local operation = operations[ARGV[a]]
    if not operation then
      -- Where the next one begins is not known either.
      next_key = count + 1
      error('ERR an operation that is not known')
    end
    place = a + 2 + operation[2]
    index = operation[3] and KEYS[next_key + 1] or nil
    next_key = next_key + (index and 2 or 1)
    replies[at] = read(ARGV[a + 1], known_text, known_room, known_session, known_study)
      or operation[1](ARGV[a + 2], ARGV[a + 3], ARGV[a + 4], ARGV[a + 5], ARGV[a + 6])
  end
end

while next_key <= count do
  local is_done, why = pcall(run)
  -- A Redis before 7 fails with a text in the place of a table.
  if not is_done then replies[at] = {err = type(why) == 'table' and why.err or why} end
end
return replies
