-- Put a letter on the shelf and take the oldest off that no longer fit, or take some off.
-- ARGV: 'put', id, Unix milliseconds, about, content, milliseconds that it is kept, most letters, most bytes
--   or: 'drop', ids …
-- Reply: how many were taken off
-- keys: order, expires: sorted sets of ids by time; about, sizes: hashes by id; bytes: of all; c:<id>: one's content
local AT = 'shin:{letters}:'

local function drop(id)
  local size = redis.call('HGET', AT .. 'sizes', id)
  if not size then return 0 end
  redis.call('DECRBY', AT .. 'bytes', size)
  redis.call('HDEL', AT .. 'sizes', id)
  redis.call('HDEL', AT .. 'about', id)
  redis.call('ZREM', AT .. 'order', id)
  redis.call('ZREM', AT .. 'expires', id)
  redis.call('DEL', AT .. 'c:' .. id)
  return 1
end

local gone = 0
if ARGV[1] == 'drop' then
  for i = 2, #ARGV do gone = gone + drop(ARGV[i]) end
  return gone
end

local id, now, keep, size = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[6]), #ARGV[4] + #ARGV[5]
for _, old in ipairs(redis.call('ZRANGEBYSCORE', AT .. 'expires', '-inf', now, 'LIMIT', 0, 1000)) do
  gone = gone + drop(old)
end
drop(id)
redis.call('HSET', AT .. 'about', id, ARGV[4])
redis.call('HSET', AT .. 'sizes', id, size)
redis.call('SET', AT .. 'c:' .. id, ARGV[5], 'PX', keep)
redis.call('ZADD', AT .. 'order', now, id)
redis.call('ZADD', AT .. 'expires', now + keep, id)
redis.call('INCRBY', AT .. 'bytes', size)
while redis.call('ZCARD', AT .. 'order') > tonumber(ARGV[7])
  or tonumber(redis.call('GET', AT .. 'bytes')) > tonumber(ARGV[8]) do
  local oldest = redis.call('ZRANGE', AT .. 'order', 0, 0)[1]
  if not oldest or drop(oldest) == 0 then break end
  gone = gone + 1
end
return gone
