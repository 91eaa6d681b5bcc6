-- Lists sockets that a node holds already, whatever the limit.
-- Arguments: incarnation, grace in ms (-1: none), then for each socket user, entry, and 1 if it was
-- listed before and only Redis forgot: that is no news of its user.
-- Answer: the users that came online.
local incarnation, grace = ARGV[1], tonumber(ARGV[2])
local online = {}
for at = 3, #ARGV, 3 do
  local user, entry, known = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  local first = count(user) == 0
  redis.call('ZADD', sockets, 0, entry)
  redis.call('ZADD', held, 0, incarnation .. '\0' .. entry)
  if first and came(user, grace) and known ~= '1' then online[#online + 1] = user end
end
return online
