-- The running day is at least the caller's, who was told so: if Redis knows of an older one, or of
-- none, it has lost the newer one. Answers whether it had, and
-- notes it with the day, of which other things may be lost. ARGV: 2 now.
local is_lost = (tonumber(stored.day) or 0) < day
put('day', string.format('%.0f', day))
if is_lost then put(string.format('set_back:%.0f', day), ARGV[2]) end
return is_lost and 1 or 0
