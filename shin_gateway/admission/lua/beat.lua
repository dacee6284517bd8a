-- Say that a worker is alive, and let go of what workers hold that no longer say so.
-- ARGV: prefix, worker, seconds of silence after which one is dead, most reservations to let go of at once
-- Reply: names of the worker's own open reservations
local now, left = time(), tonumber(ARGV[4])
local workers = PREFIX .. 'workers'
redis.call('ZADD', workers, whole(now), ARGV[2])
for _, worker in ipairs(redis.call('ZRANGEBYSCORE', workers, '-inf', whole(now - ARGV[3] * 1e6))) do
  local open, dead = PREFIX .. 'open:' .. worker, PREFIX .. 'dead:' .. worker
  for _, name in ipairs(redis.call('HKEYS', open)) do
    if left == 0 then break end
    left = left - 1
    local record = redis.call('HGET', open, name)
    redis.call('HDEL', open, name)
    redis.call('HSET', dead, name, record)  -- it may only have been away, and come back with the truth
    redis.call('PEXPIRE', dead, WEEK)
    settle(cmsgpack.unpack(record), nil, now, true)
  end
  if redis.call('EXISTS', open) == 0 then redis.call('ZREM', workers, worker) end
end
return redis.call('HKEYS', PREFIX .. 'open:' .. ARGV[2])
