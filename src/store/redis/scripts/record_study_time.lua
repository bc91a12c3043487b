-- The newest study time. ARGV: 9 study time as JSON, 10 the operation's id.
-- Tonight's listing, if there was one, is thereby the last word on its day, and the newer time is
-- the next day's. A repetition counts for nothing.
if exists and is_done(ARGV[10]) then return answer() end
settle()
if day == today and stored.listed == string.format('%.0f', today) then
  seal(today, study)
  day = today + 1
  drop('listed')
end
study, fresh = ARGV[9], true
note_done(ARGV[10])
save()
return answer()
