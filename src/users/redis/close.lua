-- A node goes. Keys: alive and dying. Arguments: incarnation, and in how many ms everything may be
-- forgotten if it was the last one.
-- Answer: {1 if it was the last one, incarnations whose sockets are to be removed}.
local alive, dying = KEYS[1], KEYS[2]
redis.call('HDEL', alive, ARGV[1])
redis.call('SADD', dying, ARGV[1])
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local nodes, gone = redis.call('HGETALL', alive), {}
for at = 1, #nodes, 2 do
  local deadline = tonumber(nodes[at + 1]:match('^(%d+) '))
  if deadline and deadline >= now then return {0, {ARGV[1]}} end
  if nodes[at]:byte() ~= 0 then gone[#gone + 1] = nodes[at] end
end
-- Nobody else would do it for those that crashed.
for _, node in ipairs(gone) do
  redis.call('HDEL', alive, node)
  redis.call('SADD', dying, node)
end
redis.call('PEXPIRE', alive, ARGV[2])
return {1, redis.call('SMEMBERS', dying)}
