-- Writes a text and reads it back. KEYS[1] its key. ARGV: 1 the text, 2 the milliseconds it stays.
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return redis.call('GET', KEYS[1])
