-- The session is over, unless the record names another one or somebody else closed it before.
-- ARGV: 9 session as JSON, 10 who closes it: one id an operation, so that it may be repeated.
if not exists or session ~= ARGV[9] then return {'NOBODY'} end
local mark = ARGV[10] .. ':' .. session
if is_closed() and stored.closed ~= mark then return {'NOBODY'} end
redis.call('HSET', key, 'closed', mark)
return answer()
