-- Auth has the frame. KEYS[1] its key. ARGV: 1 its id, 2 what becomes of users who are online.
if redis.call('HGET', KEYS[1], 'id') ~= ARGV[1] then return 0 end
redis.call('HSETNX', KEYS[1], 'acknowledged', ARGV[2])
return 1
