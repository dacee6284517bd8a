-- Settle one reservation. A second time does nothing.
-- ARGV: prefix, worker, reservation, truths (msgpack: what each settled claim came to, or '' where nothing was used)
-- Reply: alerts, each a list of names and values; nil for a reservation that is not known
local open, dead = PREFIX .. 'open:' .. ARGV[2], PREFIX .. 'dead:' .. ARGV[2]
local held, record = true, redis.call('HGET', open, ARGV[3])
if not record then  -- its worker was taken for dead meanwhile, and what it held has been let go of
  held, record, open = false, redis.call('HGET', dead, ARGV[3]), dead
end
if not record then return nil end
redis.call('HDEL', open, ARGV[3])
settle(cmsgpack.unpack(record), ARGV[4] ~= '' and cmsgpack.unpack(ARGV[4]) or nil, time(), held)
return told
