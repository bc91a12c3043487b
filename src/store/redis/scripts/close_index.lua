-- Deletes a text if it is the given one, and only where more could be written: a Redis that has no
-- memory left still deletes, and would then refuse to mark the session's record as closed.
-- KEYS[1] its key. ARGV: 1 the text.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SETRANGE', KEYS[1], 0, '')
return redis.call('DEL', KEYS[1])
