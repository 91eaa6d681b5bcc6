-- Lists sockets that a node holds already. Where that is more than a user may have, those go that
-- the rule names, whatever their node: several nodes may have let them in while they could not ask.
-- Arguments: incarnation, grace in ms (-1: none), limit (0: none), 1 if the oldest go and else the
-- youngest, 1 if this is all that the node has here, the name that the node had before (or nothing),
-- then for each socket user, entry, and 1 if it was listed before and only Redis forgot: that is no
-- news of its user.
-- Answer: {users that came online, entries that go}.
local incarnation, grace, limit = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local former = ARGV[6]
local online, gone = {}, {}

-- What identifies a socket, whatever the name of its node is by now: id and namespace.
local function identity(user, entry)
  return entry:sub(#user + 17):match('^%Z*%z%Z*%z%Z*%z(.*)$')
end

-- A node that goes on under a new name lists its sockets under both for a while.
local function without_twins(user, mine)
  local found = identity(user, mine)
  for _, entry in ipairs(entries(user, 0, -1)) do
    if entry ~= mine and found and identity(user, entry) == found then remove(entry) end
  end
end

for at = 7, #ARGV, 3 do
  local user, entry, known = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  local first = count(user) == 0
  add(incarnation, entry)
  if former ~= '' then
    -- In the same step, or it would be listed twice until the former name is swept.
    remove(entry:sub(1, #user + 16) .. former .. entry:sub(#user + 17 + #incarnation))
  end
  if first and came(user, grace) and known ~= '1' then online[#online + 1] = user end
  if limit > 0 and count(user) > limit then
    without_twins(user, entry)
    local surplus = count(user) - limit
    if surplus > 0 then
      local start = ARGV[4] == '1' and 0 or limit
      for _, over in ipairs(entries(user, start, surplus)) do
        remove(over)
        gone[#gone + 1] = over
      end
    end
  end
end
if ARGV[5] == '1' then redis.call('ZADD', sockets, 0, 'm' .. incarnation) end
return {online, gone}
