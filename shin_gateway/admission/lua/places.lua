-- Places that at most so many calls hold at once, and the queue of those that wait for one: classes by weight
-- (start-time fair queuing), callers of a class in turn, calls of a caller in the order in which they came.
-- claim: …, places, calls that may wait, places that its class may fill, class, weight, calls of the class that may
-- wait, whether it only uses what is idle (0 or 1), caller, ''
-- A member is `reservation@worker`. keys, beside the claim's own:
--   pi  hash of members that hold a place -> since when     pt<class>  list of callers who wait, the next one first
--   pq<class>:<caller>  list of the caller's members        wake:<worker>  list of reservations that got all they want
-- The claim's own: hash of 'a' all who wait, 'n' those of them who do not wait for idle places, 'v' virtual time,
-- 'e' places that workers hold ahead of their calls,
-- 'g' microseconds from one free place to the next of late, 'l' when the last became free, and for each class 'n:'
-- how many wait, 'p:' its turn in virtual time, 'w:' weight, 'm:' places that it may fill, 'i:' idle ones only.
kinds.places = {}

local CALLS, DEPTH, MOST, CLASS, WEIGHT, OWN_DEPTH, IDLE, TENANT = 6, 7, 8, 9, 10, 11, 12, 13
local CLASSES = {'critical', 'high', 'normal', 'low', 'batch'}
local REMEMBERED = 600000  -- milliseconds that the pace of an empty queue is known
local WAKE = 60000  -- milliseconds that a worker has to hear of it

local function part(key, name)
  return PREFIX .. 'p' .. name .. key:sub(#PREFIX + 2)
end

local function line_of(key, class, tenant)
  return part(key, 'q' .. class .. ':' .. #tenant .. ':' .. tenant)
end

local function number(text)
  return tonumber(text) or 0
end

-- Places that are held, by calls and ahead of them (spare.lua).
local function holders(key)
  return redis.call('HLEN', part(key, 'i')) + number(redis.call('HGET', key, 'e'))
end

-- Whether a place is free for it, how many wait before it, and microseconds until its turn at the pace of late.
local function look(claim)
  local held = holders(claim[KEY])
  local kept = redis.call('HMGET', claim[KEY], 'n', 'n:' .. claim[CLASS], 'g')
  local urgent, own, idle = number(kept[1]), number(kept[2]), claim[IDLE] == 1
  local free = held < claim[MOST] and urgent == 0 and (own == 0 or not idle)
  local fits = own < claim[OWN_DEPTH] and (idle or urgent < claim[DEPTH])
  return free, held, own, fits, number(kept[3]) * (own + 1)
end

function kinds.places.check(claim, now)
  local free, held, own, fits, patience = look(claim)
  local passes = free or (fits and claim[MODE] == ENFORCE)
  return passes and 0 or math.max(1, patience), held + own, claim[CALLS], now + patience
end

function kinds.places.take(_, _, _, member)
  return member  -- the place itself is taken by `advance`, when all of the call's claims have passed
end

local function join_queue(claim, member, now)
  local key, class = claim[KEY], claim[CLASS]
  if redis.call('RPUSH', line_of(key, class, claim[TENANT]), member) == 1 then
    redis.call('RPUSH', part(key, 't' .. class), claim[TENANT])
  end
  if redis.call('HINCRBY', key, 'a', 1) == 1 then
    redis.call('HSET', key, 'l', whole(now))
    redis.call('PERSIST', key)
  end
  if redis.call('HINCRBY', key, 'n:' .. class, 1) == 1 then  -- what it did not use is not saved up for it
    local turn = math.max(number(redis.call('HGET', key, 'v')), number(redis.call('HGET', key, 'p:' .. class)))
    redis.call('HSET', key, 'p:' .. class, string.format('%.17g', turn))
  end
  redis.call('HINCRBY', key, 'n', 1 - claim[IDLE])
  redis.call('HSET', key, 'w:' .. class, claim[WEIGHT], 'm:' .. class, claim[MOST], 'i:' .. class, claim[IDLE])
end

local function one_less(key, class, idle)
  redis.call('HINCRBY', key, 'n:' .. class, -1)
  redis.call('HINCRBY', key, 'n', idle - 1)
  if redis.call('HINCRBY', key, 'a', -1) == 0 and number(redis.call('HGET', key, 'e')) == 0 then
    redis.call('PEXPIRE', key, REMEMBERED)
  end
end

local function leave_queue(claim, member)
  local key, class = claim[KEY], claim[CLASS]
  local line = line_of(key, class, claim[TENANT])
  if redis.call('LREM', line, 1, member) == 0 then return end
  if redis.call('EXISTS', line) == 0 then redis.call('LREM', part(key, 't' .. class), 1, claim[TENANT]) end
  one_less(key, class, claim[IDLE])
end

-- Always in the same order, so that no two calls wait for each other's.
local function places_of(record)
  local places = {}
  for _, taken in ipairs(record) do
    if taken[1][KIND] == 'places' then places[#places + 1] = taken[1] end
  end
  table.sort(places, function(one, other) return one[KEY] < other[KEY] end)
  return places
end

-- Take the places that a call still lacks. Returns the first claim that it has to wait for, in whose queue it stands
-- now; nil when it has them all.
local function advance(member, record, now)
  for _, claim in ipairs(places_of(record)) do
    local holders = part(claim[KEY], 'i')
    if redis.call('HEXISTS', holders, member) == 0 then
      if claim[MODE] == COUNT or look(claim) then
        redis.call('HSET', holders, member, whole(now))
      elseif claim[MODE] == ENFORCE then
        join_queue(claim, member, now)
        return claim
      end
    end
  end
end

-- The class whose turn it is, among those that may have a place now; its turn, its weight, whether it is an idle one.
local function next_class(key)
  local held, kept, fields = holders(key), {}, redis.call('HGETALL', key)
  for i = 1, #fields, 2 do kept[fields[i]] = tonumber(fields[i + 1]) end
  local best, turn
  for _, class in ipairs(CLASSES) do
    local waits = (kept['n:' .. class] or 0) > 0 and held < kept['m:' .. class]
    if waits and (kept['i:' .. class] == 0 or kept.n == 0) and (not best or kept['p:' .. class] < turn) then
      best, turn = class, kept['p:' .. class]
    end
  end
  if best then return best, turn, kept['w:' .. best], kept['i:' .. best] end
end

local function pop(key, class, turn, weight, idle)
  local tenants = part(key, 't' .. class)
  local tenant = redis.call('LPOP', tenants)
  local member = tenant and redis.call('LPOP', line_of(key, class, tenant))
  if not member then  -- somebody has meddled with the store; a count that is wrong must not keep us here for ever
    local lost = number(redis.call('HGET', key, 'n:' .. class))
    redis.call('DEL', tenants)
    for _ = 1, lost do one_less(key, class, idle) end
    return
  end
  if redis.call('EXISTS', line_of(key, class, tenant)) == 1 then redis.call('RPUSH', tenants, tenant) end
  local format = '%.17g'
  redis.call('HSET', key, 'v', format:format(turn), 'p:' .. class, format:format(turn + 1 / weight))
  one_less(key, class, idle)
  return member
end

-- Give one who waited the place, and call it once it has all that it wants.
local function give(key, member, now)
  local name, worker = member:match('^(.-)@(.*)$')
  local record = redis.call('HGET', PREFIX .. 'open:' .. worker, name)
  if not record then return end
  redis.call('HSET', part(key, 'i'), member, whole(now))
  if advance(member, cmsgpack.unpack(record), now) then return end
  redis.call('RPUSH', PREFIX .. 'wake:' .. worker, name)
  redis.call('PEXPIRE', PREFIX .. 'wake:' .. worker, WAKE)
end

-- Give what is free to those whose turn it is.
local function hand_on(key, now)
  local class, turn, weight, idle = next_class(key)
  while class do
    local member = pop(key, class, turn, weight, idle)
    if member then give(key, member, now) end
    class, turn, weight, idle = next_class(key)
  end
end

function kinds.places.settle(claim, _, _, member, now)
  local key = claim[KEY]
  if redis.call('HDEL', part(key, 'i'), member) == 0 then return leave_queue(claim, member) end
  local kept = redis.call('HMGET', key, 'a', 'l', 'g')
  if number(kept[1]) == 0 then return end
  local since, pace = now - number(kept[2]), tonumber(kept[3])
  pace = math.max(1, pace and pace * 0.8 + since * 0.2 or since)
  redis.call('HSET', key, 'l', whole(now), 'g', whole(pace))
  hand_on(key, now)
end

-- Where a call stands in the queue that it waits in, by the turns of the callers of its class; 0 when it has all.
local function stands(member, record, now)
  for _, claim in ipairs(places_of(record)) do
    local key, class = claim[KEY], claim[CLASS]
    if claim[MODE] == ENFORCE and redis.call('HEXISTS', part(key, 'i'), member) == 0 then
      local own = redis.call('LPOS', line_of(key, class, claim[TENANT]), member)
      if not own then return advance(member, record, now) and 1 or 0 end
      local place = 0
      for _, tenant in ipairs(redis.call('LRANGE', part(key, 't' .. class), 0, 999)) do
        place = place + math.min(redis.call('LLEN', line_of(key, class, tenant)), own + 1)
      end
      return math.max(1, place), key
    end
  end
  return 0
end
