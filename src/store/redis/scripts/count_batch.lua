-- Auth acknowledged a frame. ARGV: 2 its day, 3 its id, 4 users in it. Counts once a frame, however
-- often it is repeated: the latest ids are noted, each behind a space.
local counted = stored.counted or ''
if counted:find(' ' .. ARGV[3], 1, true) then return 'OK' end
local at, by, users, frames, delivered_at = past(ARGV[2])
if at then
  remember(ARGV[2], at, by, users + ARGV[4], frames + 1, delivered_at)
  put('counted', (counted .. ' ' .. ARGV[3]):sub(-8 * (1 + #ARGV[3])))
end
return 'OK'
