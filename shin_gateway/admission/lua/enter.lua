-- All claims of one call in one step: all are taken, or none.
-- ARGV: prefix, worker, reservation, claims (msgpack; keys without the prefix)
-- Reply (msgpack): the claim that refuses, from 1, or 0; for each claim {wait or NEVER, used, limit, until all is back},
-- as it was before this call, times in microseconds; 1 where it waits for places, having taken all else, or 0.
local now, settled = time(), false
local claims, standings, states, refused, waits = cmsgpack.unpack(ARGV[4]), {}, {}, 0, 0
for i, claim in ipairs(claims) do
  claim[KEY] = PREFIX .. claim[KEY]
  local wait, used, limit, reset, state = kinds[claim[KIND]].check(claim, now)
  standings[i], states[i] = {wait, used, limit, math.max(0, reset - now)}, state
  if wait ~= 0 and claim[MODE] == ENFORCE and refused == 0 then refused = i end
end
if refused == 0 then
  local record, member = {}, ARGV[3] .. '@' .. ARGV[2]
  for i, claim in ipairs(claims) do
    local passes = standings[i][1] == 0 or claim[MODE] == COUNT
    local note = passes and kinds[claim[KIND]].take(claim, now, states[i], member)
    if claim[SETTLED] == 1 then record[#record + 1] = passes and {claim, note} or {{'nothing'}, 0} end
  end
  if #record > 0 then redis.call('HSET', PREFIX .. 'open:' .. ARGV[2], ARGV[3], cmsgpack.pack(record)) end
  local place = advance(member, record, now)
  if place then
    waits = 1
    hand_on(place[KEY], now)
  end
end
return cmsgpack.pack({refused, standings, waits})
