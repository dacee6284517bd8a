-- Says once for each level, and again when a limit was raised, that so much of a budget is spent.
local function alert(claim, spent, limit, ends)
  local level = 0
  for _, one in ipairs(LEVELS) do
    if spent * 100 >= limit * one then level = one end
  end
  local before = tonumber(redis.call('HGET', claim[KEY], 'l')) or 0
  if level == before then return end
  redis.call('HSET', claim[KEY], 'l', level)
  if level > before then
    redis.call('XADD', PREFIX .. 'alerts', 'MAXLEN', '~', 1000, '*', 'budget', claim[#claim], 'level', level,
      'spent', whole(spent), 'limit', whole(limit), 'ends', whole(ends))
  end
end
