-- The outstanding frame, which becomes the given one if there is none. KEYS[1] its key.
-- ARGV: fields and values.
if redis.call('EXISTS', KEYS[1]) == 0 then redis.call('HSET', KEYS[1], unpack(ARGV)) end
return redis.call('HGETALL', KEYS[1])
