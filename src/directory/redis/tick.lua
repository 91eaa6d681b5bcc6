-- Looks after a bucket. Arguments: incarnation, how many users at most.
-- Answer: {entries of this incarnation, ms until the next user is due or -1, users that are
-- offline now, incarnations that have entries here}.
local own = ARGV[1]
local due = redis.call('ZRANGEBYSCORE', leaving, '-inf', string.format('%.0f', now()),
  'LIMIT', 0, tonumber(ARGV[2]))
local offline = {}
for _, user in ipairs(due) do
  redis.call('ZREM', leaving, user)
  if count(user) == 0 then offline[#offline + 1] = user end
end
local wait = -1
local next_due = redis.call('ZRANGE', leaving, 0, 0, 'WITHSCORES')
if next_due[2] then wait = math.max(0, tonumber(next_due[2]) - now()) end

local nodes, from = {}, '-'
while #nodes < 1000 do
  local item = redis.call('ZRANGEBYLEX', held, from, '+', 'LIMIT', 0, 1)[1]
  if not item then break end
  local last = item:find('\0', 1, true)
  if last then
    local node = item:sub(1, last - 1)
    nodes[#nodes + 1] = node
    from = '[' .. node .. '\1'
  else
    redis.call('ZREM', held, item) -- nobody of us wrote that
  end
end
return {redis.call('ZLEXCOUNT', held, '[' .. own .. '\0', '(' .. own .. '\1'), wait, offline, nodes}
