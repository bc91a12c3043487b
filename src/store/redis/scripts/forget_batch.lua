-- Everything about the frame is done. KEYS[1] its key. ARGV: 1 its id.
if redis.call('HGET', KEYS[1], 'id') ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
