-- Where calls that wait for places stand, and hand on what should have been handed on.
-- ARGV: prefix, worker, reservations …
-- Reply: for each its place in the queue from 1, 0 when it has all it wants, -1 when nothing is known of it
local now, places = time(), {}
for i = 3, #ARGV do
  local member = ARGV[i] .. '@' .. ARGV[2]
  local record = redis.call('HGET', PREFIX .. 'open:' .. ARGV[2], ARGV[i])
  local place, key = -1, nil
  if record then
    record = cmsgpack.unpack(record)
    place, key = stands(member, record, now)
  end
  if key then
    hand_on(key, now)
    place = stands(member, record, now)
  end
  places[#places + 1] = place
end
return places
