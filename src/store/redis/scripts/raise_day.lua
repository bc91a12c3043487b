-- The running day is at least the caller's: Redis has lost a newer one.
put('day', string.format('%.0f', day))
return 'OK'
