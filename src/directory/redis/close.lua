-- A node goes. Keys: alive, dying. Argument: incarnation.
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('SADD', KEYS[2], ARGV[1])
return 1
