-- Before every script of a bucket. Keys: what entry.rs says. An entry starts with its user, which
-- ends in two zero bytes; then 16 digits of time; then the incarnation of its node and a zero byte.
local sockets, held, leaving = KEYS[1], KEYS[2], KEYS[3]

local function after(user)
  return '(' .. user:sub(1, -2) .. '\1'
end

local function count(user)
  return redis.call('ZLEXCOUNT', sockets, '[' .. user, after(user))
end

local function user_of(entry)
  local _, last = entry:find('\0\0', 1, true)
  return last and entry:sub(1, last)
end

local function now()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

-- The user has lost a socket. Answers 1 if it was the last one.
local function left(user, grace)
  if count(user) > 0 then return 0 end
  if grace >= 0 then
    redis.call('ZADD', leaving, string.format('%.0f', now() + grace), user)
  end
  return 1
end

-- The user had no socket and gets one. Answers whether it was offline.
local function came(user, grace)
  return grace >= 0 and redis.call('ZREM', leaving, user) == 0
end
