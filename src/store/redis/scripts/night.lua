-- What every script on the night begins with. KEYS[1] the night's key. ARGV: 1 the running day as
-- the caller knows it, below which the night never falls, even if Redis lost it.
local key = KEYS[1]
local stored, flat = {}, redis.call('HGETALL', key)
for i = 1, #flat, 2 do stored[flat[i]] = flat[i + 1] end
local day = math.max(tonumber(stored.day) or 1, tonumber(ARGV[1]))

local function put(field, value)
  stored[field] = value
  redis.call('HSET', key, field, value)
end

-- What is remembered of a closed day: when it was closed and by whom, users and frames that auth
-- acknowledged, and when nothing was left to tell, `-` before.
local function past(of_day)
  return (stored['past:' .. of_day] or ''):match('^(%d+) (%l+) (%d+) (%d+) ([%d-]+)$')
end

local function remember(of_day, at, by, users, frames, delivered_at)
  local numbers = string.format('%.0f %.0f', users, frames)
  put('past:' .. of_day, at .. ' ' .. by .. ' ' .. numbers .. ' ' .. delivered_at)
end

-- Ends the running day; once an operation, however often it is repeated. ARGV: 5 how many days are
-- remembered.
local function close(at, operation, by)
  local mark = 'close:' .. operation
  if stored[mark] then return stored[mark] end
  local closed = string.format('%.0f', day)
  put(mark, closed)
  put('closed:' .. closed, at)
  if not stored.swept then put('swept', closed) end
  put('day', string.format('%.0f', day + 1))
  redis.call('HDEL', key, 'listed_at')
  stored.listed_at = nil
  remember(closed, at, by, 0, 0, '-')
  for field, value in pairs(stored) do
    local remembered = tonumber(field:match('^past:(%d+)$') or field:match('^set_back:(%d+)$'))
    local is_old = remembered and remembered <= day - tonumber(ARGV[5])
      or field:find('^close:') and tonumber(value) < day - 8
    if is_old then redis.call('HDEL', key, field) end
  end
  return closed
end

-- Ends a day whose night was left open for longer than `timeout` milliseconds.
local function close_if_overdue(at, timeout, operation)
  if stored['close:' .. operation] then return stored['close:' .. operation] end
  local listed_at = tonumber(stored.listed_at)
  if not listed_at or tonumber(at) - listed_at < tonumber(timeout) then return '' end
  return close(at, operation, 'timeout')
end
