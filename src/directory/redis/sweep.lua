-- Removes some of what a node that is gone has left. Each entry is removed by one sweeper only.
-- Arguments: incarnation, grace in ms (-1: none), how many at most.
-- Answer: {entries removed, users that have no socket left}.
local prefix, grace = ARGV[1], tonumber(ARGV[2])
local found = redis.call('ZRANGEBYLEX', held, '[' .. prefix .. '\0', '(' .. prefix .. '\1',
  'LIMIT', 0, tonumber(ARGV[3]))
local emptied = 0
for _, item in ipairs(found) do
  redis.call('ZREM', held, item)
  local entry = item:sub(#prefix + 2)
  local user = user_of(entry)
  if redis.call('ZREM', sockets, entry) == 1 and user then
    emptied = emptied + left(user, grace)
  end
end
return {#found, emptied}
