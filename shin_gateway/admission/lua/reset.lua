-- Nothing of a budget is spent any more. What calls under way hold of a calendar's period stays held; a rolling one is
-- emptied, and begins anew in the slot after the last.
-- ARGV: prefix, key without the prefix
local key = ARGV[1] .. ARGV[2]
redis.call('HDEL', key, 's', 'l')
if string.sub(ARGV[2], 1, 1) ~= 'w' then return end
local kept, last, left = redis.call('HMGET', key, 'm', 'n', 'w'), 0, redis.call('PTTL', key)
if left < 0 then return end
for _, field in ipairs(redis.call('HKEYS', key)) do last = math.max(last, tonumber(field) or 0) end
redis.call('DEL', key)
redis.call('HSET', key, 't', '0', 'f', string.format('%.0f', last + 1), 'm', kept[1], 'n', kept[2], 'w', kept[3])
redis.call('PEXPIRE', key, left)
