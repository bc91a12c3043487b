-- Takes the lock if it is free, renews it if it is ours. KEYS[1] the lock. ARGV: 1 our token,
-- 2 for how many milliseconds. Answers `kept`, `taken` anew, or `held` by another.
if redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  return 'kept'
end
return redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) and 'taken' or 'held'
