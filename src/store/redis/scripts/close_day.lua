-- The day is over. ARGV: 2 now, 3 the operation's id. Answers the closed day.
return close(ARGV[2], ARGV[3])
