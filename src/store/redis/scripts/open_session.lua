-- The user is in a room with a session. ARGV: 9 room, 10 session, both as JSON.
-- Answers the record and the sessions that were replaced and whose index may still be there.
-- Done twice it is done once: a replaced session stays noted until its index is gone.
settle()
if holds(session) and session ~= ARGV[10] then put('replaced:' .. session, '1') end
drop('replaced:' .. ARGV[10])
drop('closed')
room, session, fresh = ARGV[9], ARGV[10], true
save()
local reply = answer()
for field in pairs(stored) do
  reply[#reply + 1] = field:match('^replaced:(.*)$')
end
return reply
