-- A listing is about to be written. ARGV: 2 now, 3 the operation's id, 4 after how many
-- milliseconds an earlier night that was left open is closed first. Answers that day, or nothing.
local closed = close_if_overdue(ARGV[2], ARGV[4], ARGV[3])
put('day', string.format('%.0f', math.max(day, tonumber(stored.day) or 1)))
put('listed_at', ARGV[2])
return closed
