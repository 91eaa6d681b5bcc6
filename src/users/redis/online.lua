-- Which users are online: those with a socket, and those whose grace time is not over.
-- Arguments: users. Answer: {nodes that vouch for the bucket, 1 or 0 for each}.
local time, online = now(), {}
for at, user in ipairs(ARGV) do
  local due = redis.call('ZSCORE', leaving, user)
  if count(user) > 0 or (due and tonumber(due) > time) then online[at] = 1 else online[at] = 0 end
end
return {marks(), online}
