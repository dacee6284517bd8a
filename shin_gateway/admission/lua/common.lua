-- What all scripts stand on. ARGV[1] is the prefix of every key, and holds the hash tag that keeps them in one place.
-- A claim is an array: kind, key, mode, amount, whether it is settled (0 or 1), what its kind wants beside, and last the
-- name under which somebody may change its limit, or ''.
local KIND, KEY, MODE, AMOUNT, SETTLED = 1, 2, 3, 4, 5
local ENFORCE, SHADOW, COUNT = 0, 1, 2  -- modes: refuses; only says that it would; only counts
local NEVER = -1  -- no wait makes room for so much
local PREFIX = ARGV[1]
local LEVELS = {50, 75, 90, 100}  -- per cent of a budget that are told of
local WEEK = 7 * 86400000  -- milliseconds
local LISTED = 10000  -- budgets in use that can be looked at
local UNUSED = 600000  -- milliseconds that the books of one who spent nothing are kept: names can be made up
local SHARE = 8  -- a worker gets an eighth of what is free ahead of its calls, at most
local renewing = false  -- whether what is settled is taken anew in the same step
local told = {}  -- alerts of this run
local kinds = {}

-- Microseconds since 1970.
local function time()
  local now = redis.call('TIME')
  return tonumber(now[1]) * 1e6 + tonumber(now[2])
end

local function whole(number)
  return string.format('%.0f', number)
end

-- What somebody has set in the place of a policy's limit, if anybody has.
local function raised(name)
  return name ~= '' and tonumber(redis.call('HGET', PREFIX .. 'raised', name)) or nil
end

-- End one reservation: what was taken for it becomes what it came to. `truths` nil: nothing was used.
-- `held`: whether what was taken is still taken. Where somebody has meddled with one key, the rest is settled still.
local function settle(record, truths, now, held)
  for i, taken in ipairs(record) do
    local claim, note = taken[1], taken[2]
    local fine, error = pcall(kinds[claim[KIND]].settle, claim, truths and truths[i] or 0, held and claim[AMOUNT] or 0, note, now)
    if not fine then redis.log(redis.LOG_WARNING, 'shin: ' .. (type(error) == 'table' and error.err or error)) end
  end
end
