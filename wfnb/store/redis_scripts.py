"""The Lua scripts that make each write to Redis one atomic step. Imports nothing.

A run's keys share the prefix ``wfnb:{id}:``: ``run`` (hash: the record, the epoch and the owner), ``journal`` (stream),
``keys`` (hash: entry key to position), ``packs`` (hash), ``parts`` (hash: pack key to "token count" of its part keys),
``part:token:number`` (strings) and ``lease`` (a string that expires). The journal is a stream, not a list, because one
can wait on a stream from a position; its ids are ``position-0``. Runs are indexed by the time they were created in
sorted sets: ``wfnb:runs`` for all, ``wfnb:runs:w:workflow``, ``wfnb:runs:s:status``, ``wfnb:runs:b:status:workflow``.
``wfnb:runs:p:parent`` (set) are the forks of a run. Memos of all runs are in one hash, ``wfnb:memos`` (key to "run
place pack", and on a second line "bytes time node"); ``wfnb:{id}:memos`` (set) are a run's own. What a deleted run has
left is under ``wfnb:deleted:kind:token``, and in the hash ``wfnb:deleted`` (kind:token to run).

Every script checks first and writes afterwards, so that it writes all or nothing; its first write is one that Redis
refuses when memory is short. Those that write take KEYS = run, journal, keys, packs, parts, lease and ARGV[1] = the id.
"""

from __future__ import annotations

_COMMON = """
local function indexes(workflow, status)
  return {
    'wfnb:runs:s:' .. status, 'wfnb:runs:b:' .. status .. ':' .. workflow, 'wfnb:runs', 'wfnb:runs:w:' .. workflow
  }
end

local function part(token, number)
  return 'wfnb:{' .. ARGV[1] .. '}:part:' .. token .. ':' .. number
end

-- Remove the parts of a pack, unless they are those of the token `keep`.
local function drop(pack, keep)
  local old = redis.call('HGET', KEYS[5], pack)
  if old then
    local token, count = string.match(old, '(%S+) (%d+)')
    if token ~= keep then
      for number = 0, tonumber(count) - 1 do redis.call('UNLINK', part(token, number)) end
      redis.call('HDEL', KEYS[5], pack)
    end
  end
end

-- From ARGV[at]: the number of entries, then key and data of each.
local function recorded(at)
  local count, last = tonumber(ARGV[at]), 0
  for place = at + 1, at + 2 * count, 2 do
    last = redis.call('HGET', KEYS[3], ARGV[place])
    if not last then return nil end
    local row = redis.call('XRANGE', KEYS[2], last .. '-0', last .. '-0')[1]
    if row[2][4] ~= ARGV[place + 1] then return nil end
  end
  return tonumber(last)
end

local function refused(at)
  local count, seen = tonumber(ARGV[at]), {}
  for place = at + 1, at + 2 * count, 2 do
    local key = ARGV[place]
    if seen[key] or redis.call('HEXISTS', KEYS[3], key) == 1 then return {'taken', key} end
    seen[key] = true
  end
  -- After the entries: the number of packs, then key, value, token and number of parts of each.
  at = at + 1 + 2 * count
  for place = at + 1, at + 4 * tonumber(ARGV[at]), 4 do
    for number = 0, tonumber(ARGV[place + 3]) - 1 do
      if redis.call('EXISTS', part(ARGV[place + 2], number)) == 0 then return {'lost', ARGV[place]} end
    end
  end
  return nil
end

local function write(at, last)
  local count = tonumber(ARGV[at])
  for place = at + 1, at + 2 * count, 2 do
    last = last + 1
    redis.call('XADD', KEYS[2], last .. '-0', 'k', ARGV[place], 'd', ARGV[place + 1])
    redis.call('HSET', KEYS[3], ARGV[place], last)
  end
  at = at + 1 + 2 * count
  for place = at + 1, at + 4 * tonumber(ARGV[at]), 4 do
    local key, token, parts = ARGV[place], ARGV[place + 2], tonumber(ARGV[place + 3])
    if redis.call('HSET', KEYS[4], key, ARGV[place + 1]) == 0 then drop(key, token) end
    if parts > 0 then
      redis.call('HSET', KEYS[5], key, token .. ' ' .. parts)
      for number = 0, parts - 1 do redis.call('PERSIST', part(token, number)) end
    end
  end
  -- After the packs, up to the end: key and value of each memo.
  at = at + 1 + 4 * tonumber(ARGV[at])
  while at < #ARGV do
    local stop, names = math.min(at + 1999, #ARGV), {}
    redis.call('HSET', 'wfnb:memos', unpack(ARGV, at, stop))
    for place = at, stop, 2 do names[#names + 1] = ARGV[place] end
    redis.call('SADD', 'wfnb:{' .. ARGV[1] .. '}:memos', unpack(names))
    at = stop + 1
  end
  return last
end
"""

_CLOCK = """
local function clock()
  local now = redis.call('TIME')
  return now[1] * 1000 + math.floor(now[2] / 1000)
end
"""

# The lease lapses with its key; the field 'until', in ms, says since when it has, and 0 that it was released.
_TAKEN = (
    _CLOCK
    + """
local function taken(owner, ttl, token)
  redis.call('HSET', KEYS[1], 'owner', owner, 'until', string.format('%d', clock() + ttl))
  redis.call('SET', KEYS[6], token, 'PX', ttl)
end
"""
)

_RELEASED = """
local function released()
  redis.call('DEL', KEYS[6])  -- first, so that it is let go of also when memory is short
  redis.call('HSET', KEYS[1], 'until', '0')
end
"""

# ARGV: id, '1' when an earlier try may have arrived, workflow, version, status, created, updated, tags, shape,
# parent, owner or '' for none, its ttl in ms, a token of this call, entries and packs
CREATE = (
    _COMMON
    + _TAKEN
    + """
local old = redis.call('HMGET', KEYS[1], 'workflow', 'version', 'created', 'tags', 'shape')
if old[1] then
  local same = ARGV[2] == '1' and old[1] == ARGV[3] and old[2] == ARGV[4] and old[3] == ARGV[6]
    and old[4] == ARGV[8] and old[5] == ARGV[9] and recorded(14)
  return same and {'ok', same} or {'exists'}
end
local no = refused(14)
if no then return no end
redis.call('HSET', KEYS[1], 'id', ARGV[1], 'workflow', ARGV[3], 'version', ARGV[4], 'status', ARGV[5],
  'created', ARGV[6], 'updated', ARGV[7], 'tags', ARGV[8], 'shape', ARGV[9],
  'parent', ARGV[10])
if ARGV[10] ~= '' then redis.call('SADD', 'wfnb:runs:p:' .. ARGV[10], ARGV[1]) end
for _, name in ipairs(indexes(ARGV[3], ARGV[5])) do redis.call('ZADD', name, ARGV[6], ARGV[1]) end
local last = write(14, 0)
if ARGV[11] ~= '' then
  redis.call('HSET', KEYS[1], 'epoch', 1)
  taken(ARGV[11], ARGV[12], ARGV[13])
end
return {'ok', last}
"""
)

# ARGV: id, '1' when an earlier try may have arrived, epoch or '', status or '', now,
# '1' when the lease is given back, entries, packs and memos
APPEND = (
    _COMMON
    + _RELEASED
    + """
local run = redis.call('HMGET', KEYS[1], 'epoch', 'status', 'workflow', 'created')
if not run[2] then return {'gone'} end
if ARGV[2] == '1' and ARGV[7] ~= '0' then
  local last = recorded(7)
  if last then return {'ok', last} end
end
local epoch = run[1] or '0'
if ARGV[3] ~= '' and ARGV[3] ~= epoch then return {'stale', tonumber(epoch)} end
local no = refused(7)
if no then return no end
local last = write(7, redis.call('XLEN', KEYS[2]))
if ARGV[4] ~= '' then
  redis.call('HSET', KEYS[1], 'status', ARGV[4], 'updated', ARGV[5])
  if ARGV[4] ~= run[2] then
    local before, after = indexes(run[3], run[2]), indexes(run[3], ARGV[4])
    for place = 1, 2 do
      redis.call('ZADD', after[place], run[4], ARGV[1])
      redis.call('ZREM', before[place], ARGV[1])
    end
  end
end
if ARGV[6] == '1' and ARGV[3] == epoch then released() end
return {'ok', last}
"""
)

# ARGV: id, epoch or '', a token of this call. What may be much is put aside, for CLEAR.
DELETE = (
    _COMMON
    + """
local run = redis.call('HMGET', KEYS[1], 'workflow', 'status', 'epoch', 'parent')
if not run[1] then return {'ok', 0} end
if ARGV[2] ~= '' and ARGV[2] ~= (run[3] or '0') then return {'stale', tonumber(run[3] or '0')} end
for kind, name in pairs({parts = KEYS[5], memos = 'wfnb:{' .. ARGV[1] .. '}:memos'}) do
  if redis.call('EXISTS', name) == 1 then
    redis.call('HSET', 'wfnb:deleted', kind .. ':' .. ARGV[3], ARGV[1])
    redis.call('RENAME', name, 'wfnb:deleted:' .. kind .. ':' .. ARGV[3])
  end
end
redis.call('UNLINK', unpack(KEYS))
for _, name in ipairs(indexes(run[1], run[2])) do redis.call('ZREM', name, ARGV[1]) end
if run[4] and run[4] ~= '' then redis.call('SREM', 'wfnb:runs:p:' .. run[4], ARGV[1]) end
return {'ok', 0}
"""
)

# Clears away some of what deleted runs, of whatever id, have left; says whether there may be more.
CLEAR = """
local name = redis.call('HSCAN', 'wfnb:deleted', 0, 'COUNT', 1)[2]
if not name[1] then return {'ok'} end
local left, run = 'wfnb:deleted:' .. name[1], name[2]
if redis.call('EXISTS', left) == 0 then
  redis.call('HDEL', 'wfnb:deleted', name[1])
elseif string.sub(name[1], 1, 5) == 'parts' then
  local found = redis.call('HSCAN', left, 0, 'COUNT', 50)[2]
  for place = 1, #found, 2 do
    local token, count = string.match(found[place + 1], '(%S+) (%d+)')
    for number = 0, tonumber(count) - 1 do
      redis.call('UNLINK', 'wfnb:{' .. run .. '}:part:' .. token .. ':' .. number)
    end
    redis.call('HDEL', left, found[place])
  end
else
  for _, key in ipairs(redis.call('SPOP', left, 500)) do
    -- Another run may have replaced it.
    local memo = redis.call('HGET', 'wfnb:memos', key)
    if memo and string.match(memo, '%S+') == run then redis.call('HDEL', 'wfnb:memos', key) end
  end
end
return {'more'}
"""

# ARGV: id, then pack, token and number of parts of each pack that was refused. What did get in after all is kept.
DISCARD = (
    _COMMON
    + """
for place = 2, #ARGV, 3 do
  local now = redis.call('HGET', KEYS[5], ARGV[place])
  if not now or string.match(now, '%S+') ~= ARGV[place + 1] then
    for number = 0, tonumber(ARGV[place + 2]) - 1 do redis.call('UNLINK', part(ARGV[place + 1], number)) end
  end
end
return {'ok', 0}
"""
)

# ARGV: id, keys
LOOKUP = """
for place = 2, #ARGV do
  local position = redis.call('HGET', KEYS[3], ARGV[place])
  if position then
    return {'ok', position, redis.call('XRANGE', KEYS[2], position .. '-0', position .. '-0')[1][2][4], ARGV[place]}
  end
end
return {redis.call('EXISTS', KEYS[1]) == 1 and 'none' or 'gone'}
"""

# ARGV: id, owner, ttl in ms, a token of this call, by which a second try knows the lease that the first one took
ACQUIRE = (
    _TAKEN
    + """
if redis.call('EXISTS', KEYS[1]) == 0 then return {'gone'} end
local run = redis.call('HMGET', KEYS[1], 'epoch', 'owner')
local holder = redis.call('GET', KEYS[6])
if holder == ARGV[4] then return {'ok', tonumber(run[1])} end
if holder then return {'held', run[2], redis.call('PTTL', KEYS[6])} end
local epoch = redis.call('HINCRBY', KEYS[1], 'epoch', 1)
taken(ARGV[2], ARGV[3], ARGV[4])
return {'ok', epoch}
"""
)

# ARGV: id, epoch, ttl in ms
RENEW = (
    _CLOCK
    + """
local run = redis.call('HMGET', KEYS[1], 'id', 'epoch')
if not run[1] then return {'gone'} end
local epoch = run[2] or '0'
if ARGV[2] ~= epoch then return {'stale', tonumber(epoch)} end
redis.call('HSET', KEYS[1], 'until', string.format('%d', clock() + ARGV[3]))
redis.call('SET', KEYS[6], 'renewed', 'PX', ARGV[3])
return {'ok', 0}
"""
)

# ARGV: id, epoch
RELEASE = (
    _RELEASED
    + """
local run = redis.call('HMGET', KEYS[1], 'id', 'epoch')
if not run[1] then return {'gone'} end
if ARGV[2] == run[2] then released() end
return {'ok', 0}
"""
)

LEASE = (
    _CLOCK
    + """
local run = redis.call('HMGET', KEYS[1], 'id', 'epoch', 'owner', 'until')
if not run[1] then return {'gone'} end
if not run[2] then return {'none'} end
local left = redis.call('PTTL', KEYS[6])
if left > 0 then return {'ok', run[3], tonumber(run[2]), left} end
if run[4] == '0' then return {'released', run[3], tonumber(run[2])} end
return {'ok', run[3], tonumber(run[2]), math.min(0, (tonumber(run[4]) or clock()) - clock())}
"""
)
