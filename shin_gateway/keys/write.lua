-- Puts the record of a key in the place of the one that was read, all or nothing, and tells of it.
-- KEYS: records, digests, order, revoked, changes.
-- ARGV: id, the record as it was read ('' for a new key), the new one, when it was made, most keys, most tombstones,
--   when it was revoked (0: it is not), seconds that a tombstone stays, changes kept, n, n digests to let go of, digests to add.
local id, old, new = ARGV[1], ARGV[2], ARGV[3]
local revoked = tonumber(ARGV[7])

if (redis.call('HGET', KEYS[1], id) or '') ~= old then return 'changed' end
if old == '' and redis.call('ZCARD', KEYS[3]) - redis.call('ZCARD', KEYS[4]) >= tonumber(ARGV[5]) then return 'full' end

redis.call('HSET', KEYS[1], id, new)
redis.call('ZADD', KEYS[3], ARGV[4], id)
local gone = tonumber(ARGV[10])
for i = 11, #ARGV do
  if i <= 10 + gone then redis.call('HDEL', KEYS[2], ARGV[i]) else redis.call('HSET', KEYS[2], ARGV[i], id) end
end
redis.call('XADD', KEYS[5], 'MAXLEN', '~', ARGV[9], '*', 'id', id)

if revoked > 0 then
  redis.call('ZADD', KEYS[4], revoked, id)
  local many = redis.call('ZCARD', KEYS[4]) - tonumber(ARGV[6])
  local swept = redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', revoked - tonumber(ARGV[8]), 'LIMIT', 0, 100)
  if many > 0 then swept = redis.call('ZRANGE', KEYS[4], 0, many - 1) end
  for _, one in ipairs(swept) do
    redis.call('HDEL', KEYS[1], one)
    redis.call('ZREM', KEYS[3], one)
    redis.call('ZREM', KEYS[4], one)
  end
end
return 'written'
