-- A sliding window, counted in slots. It reaches back one slot more than its length, so that no window of that
-- length, wherever it begins, ever holds more than the limit.
-- claim: …, limit, microseconds of a slot, slots, name
-- key: a hash of slot number -> count, 't' the sum of all, 'f' the first slot that may still be in it
kinds.window = {}

local function count_slots(claim, now)
  local newest = math.floor(now / claim[7])
  local oldest = newest - claim[8]
  local kept = redis.call('HMGET', claim[KEY], 't', 'f')
  local total, first = tonumber(kept[1]) or 0, tonumber(kept[2]) or newest
  if first > newest or first < oldest - claim[8] then  -- the server's clock was set back, or all of it is long ago
    redis.call('DEL', claim[KEY])
    return 0, newest
  end
  if first < oldest then
    local gone = {}
    for slot = first, oldest - 1 do gone[#gone + 1] = whole(slot) end
    for _, count in ipairs(redis.call('HMGET', claim[KEY], unpack(gone))) do total = total - (tonumber(count) or 0) end
    redis.call('HDEL', claim[KEY], unpack(gone))
    redis.call('HSET', claim[KEY], 't', whole(total), 'f', whole(oldest))
    first = oldest
  end
  return total, first
end

-- Microseconds until so much of it has gone out at the far end.
local function until_free(claim, excess, first, now)
  for slot = first, first + claim[8] do
    excess = excess - (tonumber(redis.call('HGET', claim[KEY], whole(slot))) or 0)
    if excess <= 0 then return math.max(1, (slot + claim[8] + 1) * claim[7] - now) end
  end
  return claim[7]
end

function kinds.window.check(claim, now)
  local limit, amount = raised(claim[9]) or claim[6], claim[AMOUNT]
  local total, first = count_slots(claim, now)
  local reset = math.floor(now / claim[7] + claim[8] + 1) * claim[7]
  if amount > limit then return NEVER, total, limit, reset end
  local excess = total + math.max(amount, 1) - limit
  return excess > 0 and until_free(claim, excess, first, now) or 0, total, limit, reset
end

local function add(claim, slot, amount)
  redis.call('HINCRBY', claim[KEY], whole(slot), whole(amount))
  redis.call('HINCRBY', claim[KEY], 't', whole(amount))
end

function kinds.window.take(claim, now)
  local slot = math.floor(now / claim[7])
  redis.call('HSETNX', claim[KEY], 'f', whole(slot))
  add(claim, slot, claim[AMOUNT])
  redis.call('PEXPIRE', claim[KEY], whole(claim[7] * (claim[8] + 2) / 1000))
  return slot
end

function kinds.window.settle(claim, truth, taken, slot, now)
  local first = tonumber(redis.call('HGET', claim[KEY], 'f'))
  if truth ~= taken and first and slot >= first then
    add(claim, slot, truth - taken)
    if claim[9] ~= '' then alert(claim, count_slots(claim, now), raised(claim[9]) or claim[6], now) end
  end
end
