-- The nodes that live. Key: alive. Answer: {now in ms, incarnation, value, incarnation, value, …}.
local time = redis.call('TIME')
local nodes = redis.call('HGETALL', KEYS[1])
table.insert(nodes, 1, tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000))
return nodes
