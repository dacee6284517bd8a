-- What may be used up until a day comes: a budget of a calendar's period. The key names the period.
-- claim: …, limit, microseconds since 1970 at which the period ends, name
-- key: a hash of 's' what was spent, 'r' what is reserved, 'l' the highest alert so far, 'm' the policy's limit, 'n' name
kinds.allowance = {}

function kinds.allowance.check(claim, now)
  local limit, amount = raised(claim[8]) or claim[6], claim[AMOUNT]
  local kept = redis.call('HMGET', claim[KEY], 's', 'r', 'm')
  local reserved = tonumber(kept[2]) or 0
  local used = (tonumber(kept[1]) or 0) + reserved
  local passes = used + amount <= limit and used < limit
  return passes and 0 or math.max(1, claim[7] - now), used, limit, claim[7], {reserved, tonumber(kept[3])}
end

-- Kept for a week more, for those who look back and for calls that end late.
local function keep(claim, now)
  redis.call('PEXPIREAT', claim[KEY], whole(math.max(now, claim[7]) / 1000 + WEEK))
end

function kinds.allowance.take(claim, now, state)
  local reserved = whole(state[1] + claim[AMOUNT])
  if state[2] == claim[6] then
    redis.call('HSET', claim[KEY], 'r', reserved)
    if state[1] == 0 then keep(claim, now) end  -- it may be about to go
    return 0
  end
  redis.call('HSET', claim[KEY], 'r', reserved, 'm', whole(claim[6]), 'n', claim[8])
  keep(claim, now)
  if claim[8] ~= '' then list(claim, claim[7], now) end
  return 0
end

function kinds.allowance.settle(claim, truth, taken, _, now)
  local kept = redis.call('HMGET', claim[KEY], 's', 'r', 'l')
  local spent, before = (tonumber(kept[1]) or 0) + truth, tonumber(kept[3]) or 0
  local reserved = math.max(0, (tonumber(kept[2]) or 0) - taken)
  local level = truth > 0 and alert(claim, spent, raised(claim[8]) or claim[6], claim[7], before) or before
  redis.call('HSET', claim[KEY], 's', whole(spent), 'r', whole(reserved), 'l', level)
  if spent == 0 and reserved == 0 then
    redis.call('PEXPIRE', claim[KEY], UNUSED)
  elseif not kept[2] or spent == truth then  -- its key was gone, or about to go
    keep(claim, now)
  end
end
