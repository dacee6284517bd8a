-- Neither is worth a call that fails: were a key here of the wrong type, the books would be half written.

-- Says once for each level, and again when a limit was raised, that so much of a budget is spent. Returns the level.
local function alert(claim, spent, limit, ends, before)
  local level = 0
  for _, one in ipairs(LEVELS) do
    if spent * 100 >= limit * one then level = one end
  end
  if level > before then
    local fields = {'budget', claim[#claim], 'key', string.sub(claim[KEY], #PREFIX + 1), 'level', whole(level),
      'spent', whole(spent), 'limit', whole(limit), 'ends', whole(ends)}
    told[#told + 1] = fields
    redis.pcall('XADD', PREFIX .. 'alerts', 'MAXLEN', '~', 1000, '*', unpack(fields))
  end
  return level
end

-- Puts a budget that is in use onto the list of those that can be looked at, in bounds.
local function list(claim, ends, now)
  local all = PREFIX .. 'budgets'
  redis.pcall('ZADD', all, whole(ends), string.sub(claim[KEY], #PREFIX + 1))
  redis.pcall('ZREMRANGEBYSCORE', all, '-inf', whole(now))
  redis.pcall('ZREMRANGEBYRANK', all, 0, -LISTED - 1)
end
