-- All claims of one call in one step: all are taken, or none.
-- ARGV: prefix, worker, reservation, claims (msgpack; keys without the prefix)
-- Reply (msgpack): the claim that refuses, from 1, or 0; for each claim {wait or NEVER, used, limit, until all is back},
-- as it was before this call, times in microseconds.
local now, settled = time(), false
local claims, standings, refused = cmsgpack.unpack(ARGV[4]), {}, 0
for i, claim in ipairs(claims) do
  claim[KEY] = PREFIX .. claim[KEY]
  local wait, used, limit, reset = kinds[claim[KIND]].check(claim, now)
  standings[i] = {wait, used, limit, math.max(0, reset - now)}
  if wait ~= 0 and claim[MODE] == ENFORCE and refused == 0 then refused = i end
end
if refused == 0 then
  local record = {}
  for i, claim in ipairs(claims) do
    local passes = standings[i][1] == 0 or claim[MODE] == COUNT
    local note = passes and kinds[claim[KIND]].take(claim, now)
    if claim[SETTLED] == 1 then record[#record + 1] = passes and {claim, note} or {{'nothing'}, 0} end
  end
  if #record > 0 then redis.call('HSET', PREFIX .. 'open:' .. ARGV[2], ARGV[3], cmsgpack.pack(record)) end
end
return cmsgpack.pack({refused, standings})
