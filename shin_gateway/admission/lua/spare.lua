-- Places that a worker holds ahead of its calls. They count as held; nobody gets any while somebody waits.
-- claim: as that of places. The places' own hash: 'e' how many are held so.
kinds.spare = {}

function kinds.spare.check(claim, now)
  local held = holders(claim[KEY])
  local waiting = redis.call('HGET', claim[KEY], 'a')
  return 0, waiting and waiting ~= '0' and math.max(held, claim[CALLS]) or held, claim[CALLS], now
end

function kinds.spare.take(claim)
  redis.call('HINCRBY', claim[KEY], 'e', whole(claim[AMOUNT]))
  redis.call('PERSIST', claim[KEY])
  return 0
end

function kinds.spare.settle(claim, _, taken, _, now)
  local left = redis.call('HINCRBY', claim[KEY], 'e', whole(-taken))
  if not renewing then hand_on(claim[KEY], now) end
  if left <= 0 and (redis.call('HGET', claim[KEY], 'a') or '0') == '0' then
    redis.call('PEXPIRE', claim[KEY], REMEMBERED)
  end
end
