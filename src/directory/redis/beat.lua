-- Renews the lease of a node and finds those whose lease is over.
-- Keys: alive (hash: incarnation to "deadline beat description"), dying (set of incarnations whose
-- sockets are being removed), epoch (anything; another one after a loss of data). Arguments:
-- incarnation, description, lease in ms, 1 if it was alive before, the incarnation that it replaces
-- (or nothing), an epoch if there is none.
-- Answer: {epoch, 0} if it was taken for dead, else {epoch, 1, incarnations alive, incarnations dying}.
local alive, dying = KEYS[1], KEYS[2]
redis.call('SETNX', KEYS[3], ARGV[6])
local epoch = redis.call('GET', KEYS[3])
local incarnation, description, known, former = ARGV[1], ARGV[2], ARGV[4] == '1', ARGV[5]
if known and redis.call('HEXISTS', alive, incarnation) == 0 then return {epoch, 0} end

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
if former ~= '' then
  redis.call('HDEL', alive, former)
  redis.call('SADD', dying, former)
end
redis.call('HSET', alive, incarnation,
  string.format('%.0f %.0f ', now + tonumber(ARGV[3]), now) .. description)

local living = {}
local nodes = redis.call('HGETALL', alive)
for at = 1, #nodes, 2 do
  local deadline = tonumber(nodes[at + 1]:match('^(%d+) '))
  if deadline and deadline >= now then
    living[#living + 1] = nodes[at]
  else
    redis.call('HDEL', alive, nodes[at])
    redis.call('SADD', dying, nodes[at])
  end
end
return {epoch, 1, living, redis.call('SMEMBERS', dying)}
