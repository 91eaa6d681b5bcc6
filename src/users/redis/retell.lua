-- Writes anew what has changed about sockets that are listed: the transport, after an upgrade.
-- Arguments: incarnation, then for each socket its entry before and from now on.
-- Answer: how many are still listed.
local incarnation, listed = ARGV[1], 0
for at = 2, #ARGV, 2 do
  if redis.call('ZSCORE', sockets, 's' .. ARGV[at]) then
    add(incarnation, ARGV[at + 1])
    remove(ARGV[at])
    listed = listed + 1
  end
end
return listed
