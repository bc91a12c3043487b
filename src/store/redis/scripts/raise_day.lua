-- The running day is at least the caller's, who was told so: if Redis knows of an older one, or of
-- none, it has lost the newer one. Answers whether it had.
local is_lost = (tonumber(stored.day) or 0) < day
put('day', string.format('%.0f', day))
return is_lost and 1 or 0
