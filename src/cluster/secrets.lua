-- The secrets that sign session ids, on which the nodes agree. Key: secrets, a hash: place to secret.
-- Arguments: the caller's secret, whether it is in use already, and the expiry in ms. The first secret
-- that comes is the one that signs. One that is in use is added, so that all verify it.
-- Answer: {secret, …} in the order of their places.
local PLACES = 4
local stored = redis.call('HGETALL', KEYS[1])
local secrets = {}
for i = 1, #stored, 2 do
  local place = tonumber(stored[i])
  if place then secrets[place] = stored[i + 1] end
end
for place = 1, PLACES do
  if secrets[place] == ARGV[1] then break end
  if not secrets[place] then
    if place == 1 or ARGV[2] == '1' then
      secrets[place] = ARGV[1]
      redis.call('HSET', KEYS[1], tostring(place), ARGV[1])
    end
    break
  end
end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
local answer = {}
for place = 1, PLACES do
  if not secrets[place] then break end
  answer[place] = secrets[place]
end
return answer
