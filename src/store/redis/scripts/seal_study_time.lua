-- Sets aside what belongs to a closed day. ARGV: 9 the day whose sealed time is asked for.
-- Answers that time as JSON, empty if there is none, and every day that has one.
if settle() then save() end
local reply = {'OK', sealed[tonumber(ARGV[9])] or ''}
for of_day in pairs(sealed) do reply[#reply + 1] = string.format('%.0f', of_day) end
return reply
