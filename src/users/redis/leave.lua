-- Takes sockets off the list; those that are not listed do not matter.
-- Arguments: incarnation, grace in ms (-1: none), then user and entry of each socket.
-- Answer: how many users have no socket left.
local incarnation, grace = ARGV[1], tonumber(ARGV[2])
local emptied = 0
for at = 3, #ARGV, 2 do
  emptied = emptied + drop(ARGV[at], incarnation, ARGV[at + 1], grace)
end
return emptied
