-- Makes a text the given one, whatever was there; answers the text that was, empty if there was none.
-- KEYS[1] its key. ARGV: 1 the text.
local before = redis.pcall('GET', KEYS[1])
redis.call('SET', KEYS[1], ARGV[1])
return type(before) == 'string' and before or ''
