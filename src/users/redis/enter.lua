-- Lists a socket, if the user may have one more.
-- Arguments: user, entry, incarnation, limit (0: none), 1 if the oldest goes, grace in ms (-1: none).
-- Answer: {0} if the limit is reached, {2} if what the node had listed here is lost, so that nothing
-- can be said, else {1, 1 if the user came online, entries that go}.
local user, entry, incarnation = ARGV[1], ARGV[2], ARGV[3]
local limit, grace = tonumber(ARGV[4]), tonumber(ARGV[6])

if not is_marked(incarnation) then return {2} end
-- Asked again because the first answer was lost.
if redis.call('ZSCORE', sockets, 's' .. entry) then return {1, 0, {}} end

local had = count(user)
local gone = {}
if limit > 0 and had >= limit then
  if ARGV[5] ~= '1' then return {0} end
  gone = entries(user, 0, had + 1 - limit)
end
add(incarnation, entry)
for _, old in ipairs(gone) do remove(old) end
if had == 0 and came(user, grace) then return {1, 1, gone} end
return {1, 0, gone}
