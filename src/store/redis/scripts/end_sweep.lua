-- Every record is sealed up to a day. ARGV: 2 the first day that is not wholly sealed.
if (tonumber(stored.swept) or 0) < tonumber(ARGV[2]) then put('swept', ARGV[2]) end
return 'OK'
