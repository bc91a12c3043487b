-- Auth has the sealed time. ARGV: 9 its day, 10 the time as it was delivered, 11 the session whose
-- index the caller looked up, 12 `live` if it leads to the user, 13 `keep` if a user who is online
-- keeps the record.
-- A record that has nothing more to tell goes; the session it named is answered.
settle()
local of_day = tonumber(ARGV[9])
if sealed[of_day] == ARGV[10] then
  sealed[of_day] = nil
  drop(string.format('sealed:%.0f', of_day))
end
if not exists then
  write()
  return {'OK', 'kept'}
end
local is_online = holds(session) and (session ~= ARGV[11] or ARGV[12] == 'live')
if fresh or next(sealed) or (is_online and ARGV[13] == 'keep') then
  save()
  return {'OK', 'kept'}
end
redis.call('DEL', key)
return {'OK', 'removed', session}
