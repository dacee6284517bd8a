-- Settle one reservation. A second time does nothing.
-- ARGV: prefix, worker, reservation, truths (msgpack: what each settled claim came to, or '' where nothing was used)
-- Reply: 1, or 0 for what is not known
local open, dead = PREFIX .. 'open:' .. ARGV[2], PREFIX .. 'dead:' .. ARGV[2]
local held, record = true, redis.call('HGET', open, ARGV[3])
if not record then  -- its worker was taken for dead meanwhile, and what it held has been let go of
  held, record, open = false, redis.call('HGET', dead, ARGV[3]), dead
end
if not record then return 0 end
redis.call('HDEL', open, ARGV[3])
settle(cmsgpack.unpack(record), ARGV[4] ~= '' and cmsgpack.unpack(ARGV[4]) or nil, time(), held)
return 1
