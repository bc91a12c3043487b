-- The user is in a room with a session. ARGV: 9 room, 10 session, both as JSON, 11 the operation's id.
-- Answers the record, the room and the session with which the user was elsewhere before, and the
-- sessions that were replaced and whose index may still be there.
-- Done twice it is done once: a replaced session stays noted until its index is gone.
local is_again = exists and is_done(ARGV[11])
if is_again and not (holds(ARGV[10]) and room == ARGV[9]) then return {'PAST'} end
settle()
local left_room, left_session = 'null', 'null'
if holds(session) then
  if session ~= ARGV[10] then put('replaced:' .. session, '1') end
  if session ~= ARGV[10] or room ~= ARGV[9] then left_room, left_session = room, session end
end
drop('replaced:' .. ARGV[10])
drop('closed')
room, session, fresh = ARGV[9], ARGV[10], true
if not is_again then note_done(ARGV[11]) end
save()
local reply = answer()
reply[#reply + 1] = left_room
reply[#reply + 1] = left_session
for field in pairs(stored) do
  reply[#reply + 1] = field:match('^replaced:(.*)$')
end
return reply
