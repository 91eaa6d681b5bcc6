-- Before every script of a bucket. Keys and members: what keys.rs says. An entry starts with its
-- user, which ends in two zero bytes; then 16 digits of time; then the incarnation of its node, a
-- zero byte, and what entry.rs says.
local sockets, leaving = KEYS[1], KEYS[2]

local function after(user)
  return '(s' .. user:sub(1, -2) .. '\1'
end

local function count(user)
  return redis.call('ZLEXCOUNT', sockets, '[s' .. user, after(user))
end

local function user_of(entry)
  local _, last = entry:find('\0\0', 1, true)
  return last and entry:sub(1, last)
end

local function now()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

local function add(incarnation, entry)
  redis.call('ZADD', sockets, 0, 's' .. entry, 0, 'h' .. incarnation .. '\0' .. entry)
end

-- Removes an entry of whatever node.
local function remove(entry)
  redis.call('ZREM', sockets, 's' .. entry)
  local user = user_of(entry)
  local owner = user and entry:sub(#user + 17)
  local last = owner and owner:find('\0', 1, true)
  if last then redis.call('ZREM', sockets, 'h' .. owner:sub(1, last) .. entry) end
end

-- Entries of a user, the oldest first: so many of them after the first ones.
local function entries(user, first, many)
  local found = redis.call('ZRANGEBYLEX', sockets, '[s' .. user, after(user), 'LIMIT', first, many)
  for at, member in ipairs(found) do found[at] = member:sub(2) end
  return found
end

local function is_marked(incarnation)
  return redis.call('ZSCORE', sockets, 'm' .. incarnation)
end

-- The nodes that have listed all they have here. What cannot be written cannot be believed either,
-- as nobody can list anything: that is tried, in a way that changes nothing.
local function marks()
  redis.call('ZADD', sockets, 'XX', 0, '-')
  local found = redis.call('ZRANGEBYLEX', sockets, '[m', '(n')
  for at, member in ipairs(found) do found[at] = member:sub(2) end
  return found
end

-- Takes a socket off the list. Answers 1 if it was listed, and the user's last one. Adds before it
-- removes: a Redis that is full refuses the one and not the other.
local function drop(user, incarnation, entry, grace)
  local listed = redis.call('ZSCORE', sockets, 's' .. entry)
  local last = listed and user and count(user) == 1
  if last and grace >= 0 then
    redis.call('ZADD', leaving, string.format('%.0f', now() + grace), user)
  end
  redis.call('ZREM', sockets, 's' .. entry, 'h' .. incarnation .. '\0' .. entry)
  return last and 1 or 0
end

-- The user had no socket and gets one. Answers whether it was offline.
local function came(user, grace)
  return grace >= 0 and redis.call('ZREM', leaving, user) == 0
end
