-- Settle what a worker had on lease, and give it what it may have ahead of the calls to come.
-- ARGV: prefix, worker, leases (msgpack): {reservation to settle or '', what was spent of it, new reservation, claim with
-- the amount that is kept in any case, how much more is wanted, how much must be free for that}
-- Reply: (msgpack) for each {how much more it got, used by others, limit, microseconds until all is back, whether less
-- was free than must be}; alerts
local now, leases, replies = time(), cmsgpack.unpack(ARGV[3]), {}
renewing = true
local open = PREFIX .. 'open:' .. ARGV[2]
for i, lease in ipairs(leases) do
  local old, spent, name, claim, more, plenty = unpack(lease)
  local kind, record = kinds[claim[KIND]], old ~= '' and redis.call('HGET', open, old)
  claim[KEY] = PREFIX .. claim[KEY]
  if record then
    redis.call('HDEL', open, old)
    settle(cmsgpack.unpack(record), {spent}, now, true)
  elseif spent > 0 then  -- its reservation is gone, and what was spent since is still to be paid
    settle({{claim}}, {spent}, now, false)
  end
  local fine, _, used, limit, reset, state = pcall(kind.check, claim, now)
  if not fine then  -- somebody has meddled with this one: the others are renewed still
    used, limit, reset, claim[AMOUNT] = 0, 0, now, 0
  end
  local free = limit - used - claim[AMOUNT]
  local got = free >= plenty and math.min(more, math.floor(free / SHARE)) or 0
  claim[AMOUNT] = claim[AMOUNT] + got
  if claim[AMOUNT] > 0 then
    redis.call('HSET', open, name, cmsgpack.pack({{claim, kind.take(claim, now, state)}}))
  end
  if claim[KIND] == 'spare' then hand_on(claim[KEY], now) end
  replies[i] = {got, used, limit, math.max(0, reset - now), free < plenty and 1 or 0}
end
return {cmsgpack.pack(replies), told}
