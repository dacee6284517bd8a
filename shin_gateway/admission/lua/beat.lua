-- Say that a worker is alive, and let go of what workers hold that no longer say so.
-- ARGV: prefix, worker, seconds of silence after which one is dead, most reservations to let go of at once
-- Reply: names of the worker's own open reservations
local now, left = time(), tonumber(ARGV[4])
local workers = PREFIX .. 'workers'
local mine, newest = redis.call('ZSCORE', workers, ARGV[2]), redis.call('ZREVRANGE', workers, 0, 0, 'WITHSCORES')[2]
redis.call('ZADD', workers, whole(now), ARGV[2])
local silence = ARGV[3] * 1e6
-- Has nobody said anything for long, and we were here before, then the store was away or its clock was set forward.
-- A word from the future is from before the clock was set back. Who may live gets the time to say so anew.
local from = mine and now - newest > silence / 2 and '-inf' or whole(now + 1e6)
for _, worker in ipairs(redis.call('ZRANGEBYSCORE', workers, from, '+inf')) do
  redis.call('ZADD', workers, whole(now), worker)
end
for _, worker in ipairs(redis.call('ZRANGEBYSCORE', workers, '-inf', whole(now - silence))) do
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
