-- Deletes texts that are the given ones, and only where more could be written: a Redis that has no
-- memory left still deletes, and would then refuse to mark the sessions' records as closed.
-- KEYS: their keys. ARGV: the text of each. Answers of each whether it was deleted, or an error.
local replies, at, count = {}, 0, #KEYS
local call = redis.call

local function run()
  while at < count do
    at = at + 1
    replies[at] = 0
    if call('GET', KEYS[at]) == ARGV[at] then
      call('SETRANGE', KEYS[at], 0, '')
      replies[at] = call('DEL', KEYS[at])
    end
  end
end

while at < count do
  local is_done, why = pcall(run)
  -- A Redis before 7 fails with a text in the place of a table.
  if not is_done then replies[at] = {err = type(why) == 'table' and why.err or why} end
end
return replies
