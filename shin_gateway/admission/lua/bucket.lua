-- A token bucket, kept as the one moment at which it will be full again (the generic cell rate algorithm).
-- claim: …, microseconds that one unit takes to come back, units that fit, ''
-- key: that moment, what was given back since the bucket was last full, and when that was; gone once it is full
--
-- What is given back of a reservation must not be more than what is still missing because of it: of what came back by
-- itself meanwhile, the bucket may have been full already. What is missing has never been less, since a reservation
-- was made, than the time from now to where it put the moment, less all that was given back since.
kinds.bucket = {}

local function read(claim, now)
  local full, given, since = string.match(redis.call('GET', claim[KEY]) or '', '(%d+) (%d+) (%d+)')
  if not full then return now, 0, now end
  -- A server's clock that was set back must not lock anybody out: what is owed beyond two buckets is forgiven.
  return math.min(math.max(tonumber(full), now), now + 2 * claim[6] * claim[7]), tonumber(given), tonumber(since)
end

local function write(claim, full, given, since, now)
  local text = string.format('%.0f %.0f %.0f', math.floor(full), math.ceil(given), since)
  redis.call('SET', claim[KEY], text, 'PX', whole(math.max(1, math.ceil((full - now) / 1000))))
end

function kinds.bucket.check(claim, now)
  local each, most, amount = claim[6], claim[7], claim[AMOUNT]
  local full, given, since = read(claim, now)
  local used = math.ceil((full - now) / each)
  local wait = math.max(0, full - now + (amount - most) * each)
  return amount > most and NEVER or wait, used, most, full, {full, given, since}
end

function kinds.bucket.take(claim, now, state)
  local full, given, since = state[1] + claim[AMOUNT] * claim[6], state[2], state[3]
  if claim[AMOUNT] > 0 then write(claim, full, given, since, now) end
  return claim[SETTLED] == 1 and {math.floor(full) + given, since} or 0
end

function kinds.bucket.settle(claim, truth, taken, note, now)
  if truth == taken then return end
  local full, given, since = read(claim, now)
  local more = (truth - taken) * claim[6]
  if more < 0 then
    local missing = since == note[2] and note[1] - given - now or 0
    more = -math.max(0, math.min(-more, missing, full - now))
    given = given - more
  end
  if more ~= 0 then write(claim, full + more, given, since, now) end
end
