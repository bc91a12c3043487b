-- The session is over, unless the record names another one or somebody else closed it before.
-- ARGV: 9 session as JSON, 10 who closes it: one id an operation, so that it may be repeated.
local mark = ARGV[10] .. ':' .. ARGV[9]
if exists and stored.closed ~= mark and is_done(ARGV[10]) then return {'PAST'} end
if not exists or session ~= ARGV[9] then return {'NOBODY'} end
if stored.closed == mark then return answer() end
if is_closed() then return {'NOBODY'} end
put('closed', mark)
note_done(ARGV[10])
write()
return answer()
