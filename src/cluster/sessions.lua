-- KEYS: the record of a session, and its companion: "<turn>:<hash of the record as its owner knows it>".
-- Both keys expire together.
local did, companion = ARGV[1], redis.call('GET', KEYS[2])
local turn, hash = 0, nil
if companion then
  turn, hash = string.match(companion, '^(%d+):(.*)$')
  turn = tonumber(turn or 0)
end

-- Whether the record belongs to a later owner: one of ours, or a Node.js server, which knows no
-- turns and has taken what we wrote, or has written another one.
local function overtaken(own)
  if turn > own then return true end
  if turn < own or not companion then return false end
  local record = redis.call('GET', KEYS[1])
  return not record or redis.sha1hex(record) ~= hash
end

if did == 'put' then
  local own = tonumber(ARGV[2])
  if overtaken(own) then return 0 end
  redis.call('SET', KEYS[1], ARGV[4], 'PX', ARGV[3])
  redis.call('SET', KEYS[2], ARGV[2] .. ':' .. redis.sha1hex(ARGV[4]), 'PX', ARGV[3])
  return 1
elseif did == 'look' or did == 'take' then
  local record = redis.call('GET', KEYS[1])
  if not record or #record > tonumber(ARGV[2]) then return false end
  local written = redis.sha1hex(record)
  local stamp = (companion or '') .. '|' .. written
  if did == 'look' then return { record, stamp } end
  -- It has changed hands since.
  if stamp ~= ARGV[4] then return false end
  -- It stays, for whoever comes if the new owner ends before it has written it.
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
  redis.call('SET', KEYS[2], string.format('%d:%s', turn + 1, written), 'PX', ARGV[3])
  return turn + 1
else
  if not overtaken(tonumber(ARGV[2])) then redis.call('DEL', KEYS[1], KEYS[2]) end
  return false
end
