-- A token bucket, kept as the one moment at which it will be full again (the generic cell rate algorithm).
-- claim: …, microseconds that one unit takes to come back, units that fit, ''
kinds.bucket = {}

local function full_at(claim, now)
  local at = tonumber(redis.call('GET', claim[KEY])) or 0
  -- A server's clock that was set back must not lock anybody out: what is owed beyond two buckets is forgiven.
  return math.min(math.max(at, now), now + 2 * claim[6] * claim[7])
end

local function keep(claim, at, now)
  redis.call('SET', claim[KEY], whole(at), 'PX', math.max(1, math.ceil((at - now) / 1000)))
end

function kinds.bucket.check(claim, now)
  local each, most, amount = claim[6], claim[7], claim[AMOUNT]
  local full = full_at(claim, now)
  local used = math.ceil((full - now) / each)
  if amount > most then return NEVER, used, most, full end
  return math.max(0, full - now + (amount - most) * each), used, most, full
end

function kinds.bucket.take(claim, now)
  keep(claim, full_at(claim, now) + claim[AMOUNT] * claim[6], now)
  return 0
end

function kinds.bucket.settle(claim, truth, taken, _, now)
  if truth ~= taken then
    keep(claim, math.max(now + 1000, full_at(claim, now) + (truth - taken) * claim[6]), now)
  end
end
