-- Looks after a bucket. Arguments: incarnation, how many users at most.
-- Answer: {entries of this incarnation, or -1 if what it had listed here is lost, ms until the next
-- user is due or -1, users that are offline now, incarnations that have anything here}.
local own = ARGV[1]
local nodes = marks()
redis.call('PERSIST', leaving)
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

local from = '[h'
while #nodes < 1000 do
  local item = redis.call('ZRANGEBYLEX', sockets, from, '(i', 'LIMIT', 0, 1)[1]
  if not item then break end
  local last = item:find('\0', 1, true)
  if last then
    local node = item:sub(2, last - 1)
    nodes[#nodes + 1] = node
    from = '[h' .. node .. '\1'
  else
    redis.call('ZREM', sockets, item) -- nobody of us wrote that
  end
end
local held = -1
if is_marked(own) then
  held = redis.call('ZLEXCOUNT', sockets, '[h' .. own .. '\0', '(h' .. own .. '\1')
end
return {held, wait, offline, nodes}
