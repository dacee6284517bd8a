-- A sliding window, counted in slots. It reaches back one slot more than its length, so that no window of that
-- length, wherever it begins, ever holds more than the limit.
-- claim: …, limit, microseconds of a slot, slots, name
-- key: a hash of slot number -> count, 't' the sum of all, 'f' the first slot that may still be in it; for a budget
-- also 'm' its limit, 'n' its name, 'w' microseconds of a slot, 'l' the highest alert so far
kinds.window = {}

-- The sum of all, the first slot and the newest.
local function count_slots(claim, now)
  local newest = math.floor(now / claim[7])
  local oldest = newest - claim[8]
  local kept = redis.call('HMGET', claim[KEY], 't', 'f')
  local total, first = tonumber(kept[1]) or 0, tonumber(kept[2]) or newest
  if first > newest + claim[8] or first < oldest - claim[8] then
    redis.call('DEL', claim[KEY])  -- the server's clock was set back by far, or all of it is long ago
    return 0, newest, newest
  end
  if first < oldest then
    local gone = {}
    for slot = first, oldest - 1 do gone[#gone + 1] = whole(slot) end
    for _, count in ipairs(redis.call('HMGET', claim[KEY], unpack(gone))) do total = total - (tonumber(count) or 0) end
    redis.call('HDEL', claim[KEY], unpack(gone))
    redis.call('HSET', claim[KEY], 't', whole(total), 'f', whole(oldest))
    first = oldest
  end
  return total, first, math.max(newest, first)  -- a clock that was set back a little counts on where it was
end

-- Microseconds until so much of it has gone out at the far end.
local function until_free(claim, excess, first, now)
  local slots = {}
  for slot = first, first + claim[8] do slots[#slots + 1] = whole(slot) end
  for i, count in ipairs(redis.call('HMGET', claim[KEY], unpack(slots))) do
    excess = excess - (tonumber(count) or 0)
    if excess <= 0 then return math.max(1, (first + i + claim[8]) * claim[7] - now) end
  end
  return claim[7]
end

function kinds.window.check(claim, now)
  local limit, amount = raised(claim[9]) or claim[6], claim[AMOUNT]
  local total, first, newest = count_slots(claim, now)
  local reset = (newest + claim[8] + 1) * claim[7]
  if amount > limit then return NEVER, total, limit, reset, {total, first, newest} end
  local excess = total + math.max(amount, 1) - limit
  return excess > 0 and until_free(claim, excess, first, now) or 0, total, limit, reset, {total, first, newest}
end

-- Kept for as long as anything of it counts.
local function last(claim)
  redis.call('PEXPIRE', claim[KEY], whole(claim[7] * (claim[8] + 2) / 1000))
end

function kinds.window.take(claim, now, state)
  local total, first, newest = state[1], state[2], state[3]
  local slot, amount = whole(newest), claim[AMOUNT]
  local count = redis.call('HGET', claim[KEY], slot)
  redis.call('HSET', claim[KEY], slot, whole((tonumber(count) or 0) + amount), 't', whole(total + amount), 'f', whole(first))
  if count and total > 0 then return newest end
  last(claim)
  if claim[9] ~= '' then
    redis.call('HSET', claim[KEY], 'm', whole(claim[6]), 'n', claim[9], 'w', claim[7])
    list(claim, (newest + claim[8] + 1) * claim[7], now)
  end
  return newest
end

function kinds.window.settle(claim, truth, taken, slot, now)
  if truth == taken then return end
  local kept = redis.call('HMGET', claim[KEY], 't', 'f', whole(slot))
  local first, count = tonumber(kept[2]), tonumber(kept[3])
  if not count or slot < first then return end  -- out at the far end, or the window was emptied
  local total = tonumber(kept[1]) + truth - taken
  redis.call('HSET', claim[KEY], whole(slot), whole(count + truth - taken), 't', whole(total))
  if total == 0 then
    redis.call('PEXPIRE', claim[KEY], whole(math.min(UNUSED, claim[7] * claim[8] / 1000)))
  elseif total == truth - taken then
    last(claim)  -- it was about to go
  end
  if claim[9] == '' then return end
  local before = tonumber(redis.call('HGET', claim[KEY], 'l')) or 0
  local spent, _, newest = count_slots(claim, now)
  local level = alert(claim, spent, raised(claim[9]) or claim[6], (newest + claim[8] + 1) * claim[7], before)
  if level ~= before then redis.call('HSET', claim[KEY], 'l', level) end
end
