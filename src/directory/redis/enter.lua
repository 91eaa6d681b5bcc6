-- Lists a socket, if the user may have one more.
-- Arguments: user, entry, incarnation, limit (0: none), 1 if the oldest goes, grace in ms (-1: none).
-- Answer: {0} if the limit is reached, else {1, 1 if the user came online, entries that go}.
local user, entry, incarnation = ARGV[1], ARGV[2], ARGV[3]
local limit, grace = tonumber(ARGV[4]), tonumber(ARGV[6])

-- Asked again because the first answer was lost.
if redis.call('ZSCORE', sockets, entry) then return {1, 0, {}} end

local had = count(user)
local gone = {}
if limit > 0 and had >= limit then
  if ARGV[5] ~= '1' then return {0} end
  gone = redis.call('ZRANGEBYLEX', sockets, '[' .. user, after(user), 'LIMIT', 0, had + 1 - limit)
  for _, old in ipairs(gone) do
    redis.call('ZREM', sockets, old)
    local owner = old:sub(#user + 17)
    local last = owner:find('\0', 1, true)
    if last then redis.call('ZREM', held, owner:sub(1, last) .. old) end
  end
end
redis.call('ZADD', sockets, 0, entry)
redis.call('ZADD', held, 0, incarnation .. '\0' .. entry)
if had == 0 and came(user, grace) then return {1, 1, gone} end
return {1, 0, gone}
