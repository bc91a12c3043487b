-- Auth has the sealed time. ARGV: 9 its day, 10 the time as it was delivered, 11 the session whose
-- index the caller looked up, 12 `live` if it leads to the user, 13 `keep` if a user who is online
-- keeps the record.
-- A record that has nothing more to tell goes. Answers the sessions whose index may still be there
-- then; they stay noted until it is gone, so that this may be done again after a crash.
settle()
local of_day = tonumber(ARGV[9])
if sealed[of_day] == ARGV[10] then
  sealed[of_day] = nil
  drop(string.format('sealed:%.0f', of_day))
end
if exists then
  local is_online = holds(session) and (session ~= ARGV[11] or ARGV[12] == 'live')
  if fresh or next(sealed) or (is_online and ARGV[13] == 'keep') then
    save()
    return {'OK'}
  end
  if session ~= 'null' then put('replaced:' .. session, '1') end
  for field in pairs(stored) do
    if not field:find('^replaced:') then drop(field) end
  end
end
write()
local reply = {'OK'}
for field in pairs(stored) do
  reply[#reply + 1] = field:match('^replaced:(.*)$')
end
return reply
