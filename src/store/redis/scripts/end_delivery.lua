-- Nothing of a closed day is left to tell. ARGV: 2 the day, 3 now.
if stored['closed:' .. ARGV[2]] then
  local at, by, users, frames = past(ARGV[2])
  if at then remember(ARGV[2], at, by, users, frames, ARGV[3]) end
  redis.call('HDEL', key, 'closed:' .. ARGV[2])
end
return 'OK'
