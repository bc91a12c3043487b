-- The running day's last word, as signaling lists it at night. ARGV: 9 study time as JSON, null
-- for none, 10 the operation's id, last `sure` if the running day was asked for just now.
if exists and is_done(ARGV[10]) then return answer() end
settle()
if day == today then
  put('listed', string.format('%.0f', today))
  if ARGV[9] ~= 'null' then study = ARGV[9] end
elseif sealed[today] then
  if ARGV[9] ~= 'null' then seal(today, ARGV[9]) end
elseif ARGV[#ARGV] ~= 'sure' then
  -- The listed day is closed and delivered: the caller has not heard of it yet.
  return {'STALE', string.format('%.0f', day)}
end
fresh = true
note_done(ARGV[10])
save()
return answer()
