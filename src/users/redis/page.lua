-- Users of a bucket in order. Arguments: the user to start from (or nothing), how many at most.
-- Answer: {nodes that vouch for the bucket, {user, number of sockets, user, number of sockets, …}}.
local from, limit = '[s' .. ARGV[1], tonumber(ARGV[2])
local page = {}
while #page < 2 * limit do
  local member = redis.call('ZRANGEBYLEX', sockets, from, '(t', 'LIMIT', 0, 1)[1]
  if not member then break end
  local user = user_of(member:sub(2))
  if user then
    page[#page + 1] = user
    page[#page + 1] = count(user)
    from = '[s' .. user:sub(1, -2) .. '\1'
  else
    from = '(' .. member -- nobody of us wrote that
  end
end
return {marks(), page}
