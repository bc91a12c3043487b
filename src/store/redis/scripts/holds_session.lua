-- Whether the session is the user's live one, once the note that it was replaced is taken away.
-- ARGV: 9 session as JSON.
local is_held = holds(ARGV[9])
drop('replaced:' .. ARGV[9])
write()
return {'OK', is_held and '1' or '0'}
