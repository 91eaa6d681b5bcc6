-- Renews the lease of a node and finds those whose lease is over.
-- Keys: alive and dying, see keys.rs. Arguments: incarnation, description, lease in ms, 1 if it was
-- alive before, the incarnation that it replaces (or nothing), an epoch if there is none.
-- Answer: {epoch, 0} if it was taken for dead, else {epoch, 1, incarnations alive, incarnations dying}.
local alive, dying = KEYS[1], KEYS[2]
local incarnation, description, known, former = ARGV[1], ARGV[2], ARGV[4] == '1', ARGV[5]

local function epoch_of(nodes)
  for at = 1, #nodes, 2 do
    if nodes[at]:byte() == 0 then return nodes[at]:sub(2) end
  end
end

local epoch = epoch_of(redis.call('HGETALL', alive))
if not epoch then
  epoch = ARGV[6]
  redis.call('HSET', alive, '\0' .. epoch, '')
end
if known and redis.call('HEXISTS', alive, incarnation) == 0 then return {epoch, 0} end

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
redis.call('HSET', alive, incarnation,
  string.format('%.0f %.0f ', now + tonumber(ARGV[3]), now) .. description)
if former ~= '' then
  redis.call('HDEL', alive, former)
  redis.call('SADD', dying, former)
end

local living = {}
local nodes = redis.call('HGETALL', alive)
for at = 1, #nodes, 2 do
  local deadline = tonumber(nodes[at + 1]:match('^(%d+) '))
  if deadline and deadline >= now then
    living[#living + 1] = nodes[at]
  elseif nodes[at]:byte() ~= 0 then
    redis.call('HDEL', alive, nodes[at])
    redis.call('SADD', dying, nodes[at])
  end
end
-- Not before something that a full Redis refuses: after a first write it refuses a script nothing.
redis.call('PERSIST', alive)
return {epoch, 1, living, redis.call('SMEMBERS', dying)}
