-- Users of a bucket in order. Arguments: the user to start from (or nothing), how many at most.
-- Answer: user, number of sockets, user, number of sockets, …
local from, limit = '-', tonumber(ARGV[2])
if ARGV[1] ~= '' then from = '[' .. ARGV[1] end
local page = {}
while #page < 2 * limit do
  local entry = redis.call('ZRANGEBYLEX', sockets, from, '+', 'LIMIT', 0, 1)[1]
  if not entry then break end
  local user = user_of(entry)
  if user then
    page[#page + 1] = user
    page[#page + 1] = count(user)
    from = '[' .. user:sub(1, -2) .. '\1'
  else
    from = '(' .. entry -- nobody of us wrote that
  end
end
return page
