-- Removes some of what a node that is gone has left. Each entry is removed by one sweeper only.
-- Arguments: incarnation, grace in ms (-1: none), how many at most, and, if no node is left that
-- would look after it, in how many ms everything may be forgotten (else 0).
-- Answer: {entries removed, users that have no socket left}.
local prefix, grace, limit = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local found = redis.call('ZRANGEBYLEX', sockets, '[h' .. prefix .. '\0', '(h' .. prefix .. '\1',
  'LIMIT', 0, limit)
local emptied = 0
for _, item in ipairs(found) do
  local entry = item:sub(#prefix + 3)
  emptied = emptied + drop(user_of(entry), prefix, entry, grace)
end
if #found < limit then redis.call('ZREM', sockets, 'm' .. prefix) end
if ARGV[4] ~= '0' then redis.call('PEXPIRE', leaving, ARGV[4]) end
return {#found, emptied}
