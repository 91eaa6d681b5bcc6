-- The answer to the request that has claimed a key. Key: a hash of `token` (who has claimed it), `request`
-- (the digest of the request), and, once there is an answer, `status` and `body`.
-- Arguments: what to do, the caller's token, and what that needs.
local held = {}
local fields = redis.call('HGETALL', KEYS[1])
for i = 1, #fields, 2 do held[fields[i]] = fields[i + 1] end
if ARGV[1] == 'claim' then
  -- The request's digest, and the time in ms. Answer: {} for the first, else {request, status, body}.
  if not held.token then
    redis.call('HSET', KEYS[1], 'token', ARGV[2], 'request', ARGV[3])
    redis.call('PEXPIRE', KEYS[1], ARGV[4])
    return {}
  end
  return {held.request or '', held.status or '', held.body or ''}
end
if held.token ~= ARGV[2] or held.status then return {} end
if ARGV[1] == 'answer' then
  redis.call('HSET', KEYS[1], 'status', ARGV[3], 'body', ARGV[4])
else
  redis.call('HDEL', KEYS[1], 'token', 'request')
end
return {}
