-- Closes a night that was left open. ARGV: 2 now, 3 the operation's id, 4 after how many
-- milliseconds. Answers the closed day, or nothing.
return close_if_overdue(ARGV[2], ARGV[4], ARGV[3])
