-- Moves a task key, by the same version rule as vectors: only ever up; and only for its owner.
--
-- KEYS[1]  the task key, a hash: planned, version (20 digits each), frontier, watermark (µs), log, owner, primaries, restoring, swept
-- ARGV[1]  what to do: 'claim', 'planned', 'confirmed', 'restoring', 'restore' or 'swept'
-- ARGV[2]  the caller's generation and planned sequence, 20 digits
-- ARGV[3]  the caller's plan log
-- ARGV[4]  the caller: to 'claim' with, its name; else what 'claim' answered; empty where owners share a plan log
-- ARGV[5]  the version that 'confirmed' moves from, 20 digits
-- ARGV[6]  the version that 'confirmed' and 'restore' move to, 20 digits
-- ARGV[7]  its frontier
-- ARGV[8]  its watermark
-- ARGV[9]  the primaries' replication ids, separated by commas; empty where they are not known: 'claim' and 'planned' write them into a record that they make, 'confirmed' compares, 'restore' writes
--
-- Returns {outcome, planned, log, owner}, the last three as the key holds them after the call; outcome is
--   1 held: the record is at least where the caller wanted it
--   2 held, and the record was made by this call
--   0 lost: the record is missing, or not where the caller left it, or does not know one of the primaries, or has lost the mark of 'restoring'; nothing was moved
--  -1 superseded: another plan log has claimed this generation or a higher one, or another owner has claimed the task since; nothing was moved
--
-- An owner is ten digits, a space and its name. The digits count claims, so that of two owners the later one is the greater, as text: a record that a failover brought back from before the last claim supersedes nobody.

local op, mine, log, owner, prev, version, primaries = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[9]
local record = redis.call('HMGET', KEYS[1], 'planned', 'version', 'log', 'primaries', 'owner', 'restoring')
local zero = string.rep('0', 20)
local found = record[1] and true or false
local planned, at, owned = record[1] or zero, record[2] or zero, record[5] or ''

local theirs, ours = string.sub(planned, 1, 5), string.sub(mine, 1, 5)
local claimed = theirs > ours or (theirs == ours and (record[3] or log) ~= log)
if op == 'claim' and owner ~= '' then
  local claims = tonumber(string.match(owned, '^%d+') or '0') + 1
  owner = string.format('%010d %s', claims, owner)
end
if claimed or (owner ~= '' and owned > owner) then
  return {-1, planned, record[3] or '', owned}
end

local function knows_all()
  for id in string.gmatch(primaries, '[^,]+') do
    if not string.find(record[4] or '', id, 1, true) then
      return false
    end
  end
  return true
end

local function hold()
  if planned < mine then
    planned = mine
  end
  redis.call('HSET', KEYS[1], 'planned', planned, 'version', at, 'log', log, 'owner', owner)
  if primaries ~= '' and (op == 'restore' or not found) then
    redis.call('HSET', KEYS[1], 'primaries', primaries)
  end
  return {found and 1 or 2, planned, log, owner}
end

local function move()
  redis.call('HSET', KEYS[1], 'frontier', ARGV[7], 'watermark', ARGV[8])
  at = version
  return hold()
end

if op == 'claim' or op == 'planned' then
  return hold()
elseif op == 'restoring' then
  redis.call('HSET', KEYS[1], 'restoring', '1')
  return hold()
elseif op == 'swept' then
  redis.call('HSET', KEYS[1], 'swept', tostring(tonumber(ours)))
  return hold()
elseif op == 'restore' then
  if not record[6] then
    return {0, planned, log, owned}
  end
  redis.call('HDEL', KEYS[1], 'restoring')
  if at < version then
    return move()
  end
  return hold()
elseif not found or not knows_all() then
  return {0, planned, log, owned}
elseif at >= version then
  return {1, planned, log, owned}
elseif at == prev then
  return move()
end
return {0, planned, log, owned}
