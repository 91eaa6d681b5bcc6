-- Takes sockets off the list; those that are not listed do not matter.
-- Arguments: incarnation, grace in ms (-1: none), then user and entry of each socket.
-- Answer: how many users have no socket left.
local incarnation, grace = ARGV[1], tonumber(ARGV[2])
local emptied = 0
for at = 3, #ARGV, 2 do
  local user, entry = ARGV[at], ARGV[at + 1]
  redis.call('ZREM', held, incarnation .. '\0' .. entry)
  if redis.call('ZREM', sockets, entry) == 1 then emptied = emptied + left(user, grace) end
end
return emptied
