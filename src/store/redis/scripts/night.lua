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

-- Ends the running day; once an operation, however often it is repeated.
local function close(at, operation)
  local mark = 'close:' .. operation
  if stored[mark] then return stored[mark] end
  local closed = string.format('%.0f', day)
  put(mark, closed)
  put('closed:' .. closed, at)
  if not stored.swept then put('swept', closed) end
  put('day', string.format('%.0f', day + 1))
  redis.call('HDEL', key, 'listed_at')
  stored.listed_at = nil
  for field, of_day in pairs(stored) do
    if field:find('^close:') and tonumber(of_day) < day - 8 then redis.call('HDEL', key, field) end
  end
  return closed
end

-- Ends a day whose night was left open for longer than `timeout` milliseconds.
local function close_if_overdue(at, timeout, operation)
  if stored['close:' .. operation] then return stored['close:' .. operation] end
  local listed_at = tonumber(stored.listed_at)
  if not listed_at or tonumber(at) - listed_at < tonumber(timeout) then return '' end
  return close(at, operation)
end
