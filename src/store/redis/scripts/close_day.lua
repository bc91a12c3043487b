-- The day is over. ARGV: 2 now, 3 the operation's id, 6 who says so. Answers the closed day.
return close(ARGV[2], ARGV[3], ARGV[6])
