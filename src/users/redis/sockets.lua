-- The sockets of a user. Argument: the user. Answer: {nodes that vouch for the bucket, entries}.
return {marks(), entries(ARGV[1], 0, -1)}
