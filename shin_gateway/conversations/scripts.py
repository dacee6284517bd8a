"""What the state store does with conversations in one step each. All keys of a tenant share a hash tag.

`r:` a reply: `t` its turn, `s` the reply itself; or `o` the provider that keeps it.
`t:` a turn: `s` what was said, `p` the turn before, or `k` `e` `c` the first `c` batches of a conversation; `b` bytes
     and `n` items up to and with it.
`c:` a conversation: `e` which one of this name, `d` its dialect, `a` what is said about it, `b` bytes, `n` items, `l`
     batches, `z` the last batches' nonces, `x` set when a turn was too long for it; or `o` the provider that keeps it.
`i:` its batches of items, a list.
"""

from __future__ import annotations

READ_CHAIN = """
local reply = redis.call('HMGET', KEYS[1], 't', 'o')
if not reply[1] then return reply[2] and {'elsewhere', reply[2]} or {'none'} end
local prefix, ttl, bytes, items = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local turns, batches, at, sums = {}, {}, reply[1], nil
while at ~= '' do
  local turn = redis.call('HMGET', prefix .. 't:' .. at, 's', 'p', 'k', 'e', 'c', 'b', 'n')
  if not turn[1] then return {'none'} end
  if not sums then
    sums = {turn[6], turn[7]}
    if tonumber(turn[6]) > bytes then return {'long'} end
    if tonumber(turn[7]) > items then return {'full'} end
  end
  redis.call('EXPIRE', prefix .. 't:' .. at, ttl)
  turns[#turns + 1] = at
  turns[#turns + 1] = turn[1]
  at = turn[2]
  if at == '' and turn[3] ~= '' then
    if redis.call('HGET', prefix .. 'c:' .. turn[3], 'e') ~= turn[4] then return {'none'} end
    batches = redis.call('LRANGE', prefix .. 'i:' .. turn[3], 0, tonumber(turn[5]) - 1)
    if #batches < tonumber(turn[5]) then return {'none'} end
    batches[#batches + 1] = turn[3]
  end
end
redis.call('EXPIRE', KEYS[1], ttl)
return {'chain', reply[1], sums[1], sums[2], turns, batches}
"""
"""KEYS: reply. ARGV: prefix, ttl, bytes and items that may be read. Turns: name and text, newest first; batches: texts,
then the conversation's digest."""

KEEP_REPLY = """
redis.call('HSET', KEYS[2], 's', ARGV[4], 'p', ARGV[5], 'k', ARGV[6], 'e', ARGV[7], 'c', ARGV[8], 'b', ARGV[9],
           'n', ARGV[10])
redis.call('EXPIRE', KEYS[2], ARGV[1])
redis.call('HSET', KEYS[1], 't', ARGV[2], 's', ARGV[3])
redis.call('EXPIRE', KEYS[1], ARGV[1])
return 'ok'
"""
"""KEYS: reply, turn. ARGV: ttl, the turn's name, the reply, the turn, p, k, e, c, b, n."""

READ_CONVERSATION = """
local c = redis.call('HMGET', KEYS[1], 'e', 'd', 'a', 'b', 'n', 'l', 'x', 'o')
if not c[1] then return c[8] and {'elsewhere', c[8]} or {'none'} end
if c[7] or tonumber(c[4]) > tonumber(ARGV[2]) then return {'long'} end
if tonumber(c[5]) > tonumber(ARGV[3]) then return {'full'} end
local batches = redis.call('LRANGE', KEYS[2], 0, -1)
if #batches ~= tonumber(c[6]) then return {'none'} end
redis.call('EXPIRE', KEYS[1], ARGV[1])
redis.call('EXPIRE', KEYS[2], ARGV[1])
return {'conversation', c[1], c[2], c[3], c[4], c[5], batches}
"""
"""KEYS: conversation, batches. ARGV: ttl, bytes and items that may be read."""

APPEND = """
local c = redis.call('HMGET', KEYS[1], 'e', 'd', 'b', 'n', 'z')
local ttl, seen, dialect, batch, nonce = ARGV[1], ARGV[2], ARGV[4], ARGV[8], ARGV[11]
if not c[1] then
  if ARGV[5] == '' then return 'gone' end
  redis.call('DEL', KEYS[1], KEYS[2])
  redis.call('HSET', KEYS[1], 'e', ARGV[3], 'd', dialect, 'a', ARGV[5], 'b', 0, 'n', 0, 'l', 0)
  c = {ARGV[3], dialect, 0, 0, ''}
end
if seen ~= '' and seen ~= c[1] then return 'gone' end
if dialect ~= c[2] then return 'dialect' end
local known = c[5] or ''
if string.find(known, nonce, 1, true) then return 'ok' end
if tonumber(c[3]) + tonumber(ARGV[6]) > tonumber(ARGV[9]) then return 'long' end
if tonumber(c[4]) + tonumber(ARGV[7]) > tonumber(ARGV[10]) then return 'full' end
if batch ~= '' then
  redis.call('RPUSH', KEYS[2], batch)
  redis.call('HINCRBY', KEYS[1], 'l', 1)
  redis.call('HINCRBY', KEYS[1], 'b', ARGV[6])
  redis.call('HINCRBY', KEYS[1], 'n', ARGV[7])
  redis.call('HSET', KEYS[1], 'z', string.sub(nonce .. known, 1, 512))
end
redis.call('EXPIRE', KEYS[1], ttl)
redis.call('EXPIRE', KEYS[2], ttl)
return 'ok'
"""
"""KEYS: conversation, batches. ARGV: ttl, which one was seen or none, which one is to be made, dialect, about or none
where none may be made, bytes, items, the batch or none, bytes and items that there may be, a nonce of 16 digits: what
is asked twice is done once."""

CHANGE = """
if redis.call('HGET', KEYS[1], 'e') ~= ARGV[2] then return 'gone' end
redis.call('HSET', KEYS[1], ARGV[3], ARGV[4])
redis.call('EXPIRE', KEYS[1], ARGV[1])
redis.call('EXPIRE', KEYS[2], ARGV[1])
return 'ok'
"""
"""KEYS: conversation, batches. ARGV: ttl, which one was seen, a field and its value."""

REPLACE_BATCH = """
if redis.call('LINDEX', KEYS[2], ARGV[1]) ~= ARGV[2] then return 'changed' end
redis.call('LSET', KEYS[2], ARGV[1], ARGV[3])
redis.call('HINCRBY', KEYS[1], 'b', -ARGV[4])
redis.call('HINCRBY', KEYS[1], 'n', -1)
return 'ok'
"""
"""KEYS: conversation, batches. ARGV: where, the batch that was seen, the one in its place, bytes less."""
