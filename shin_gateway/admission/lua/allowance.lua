-- What may be used up until a day comes: a budget of a calendar's period. The key names the period.
-- claim: …, limit, microseconds since 1970 at which the period ends, name
-- key: a hash of 's' what was spent, 'r' what is reserved, 'l' the highest alert so far
kinds.allowance = {}

function kinds.allowance.check(claim, now)
  local limit, amount = raised(claim[8]) or claim[6], claim[AMOUNT]
  local kept = redis.call('HMGET', claim[KEY], 's', 'r')
  local used = (tonumber(kept[1]) or 0) + (tonumber(kept[2]) or 0)
  local passes = used + amount <= limit and used < limit
  return passes and 0 or math.max(1, claim[7] - now), used, limit, claim[7]
end

local function add(claim, field, amount, now)
  redis.call('HINCRBY', claim[KEY], field, whole(amount))
  redis.call('PEXPIREAT', claim[KEY], whole(math.max(now, claim[7]) / 1000 + WEEK))
end

function kinds.allowance.take(claim, now)
  add(claim, 'r', claim[AMOUNT], now)
  return 0
end

function kinds.allowance.settle(claim, truth, taken, _, now)
  if taken ~= 0 then add(claim, 'r', -taken, now) end
  if truth <= 0 then return end
  add(claim, 's', truth, now)
  alert(claim, tonumber(redis.call('HGET', claim[KEY], 's')), raised(claim[8]) or claim[6], claim[7])
end
