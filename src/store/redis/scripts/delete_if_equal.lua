-- Deletes a text if it is the given one. KEYS[1] its key. ARGV: 1 the text.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
