-- Moves a task key, by the same version rule as vectors: only ever up.
--
-- KEYS[1]  the task key, a hash: planned, version (20 digits each), frontier, watermark (µs), log, primaries
-- ARGV[1]  what to do: 'planned', 'confirmed' or 'restore'
-- ARGV[2]  the caller's claim: the generation and planned sequence, 20 digits
-- ARGV[3]  the caller's plan log
-- ARGV[4]  the version that 'confirmed' moves from, 20 digits
-- ARGV[5]  the version that 'confirmed' and 'restore' move to, 20 digits
-- ARGV[6]  its frontier
-- ARGV[7]  its watermark
-- ARGV[8]  the primaries' replication ids, separated by commas; empty where they are not known: 'planned' writes them into a record that it makes, 'confirmed' compares, 'restore' writes
--
-- Returns {outcome, planned, log}, the last two as the key holds them after the call; outcome is
--   1 held: the record is at least where the caller wanted it
--   2 held, and the record was made by this call
--   0 lost: the record is missing, or not where the caller left it, or does not know one of the primaries; nothing was moved
--  -1 superseded: another plan log has claimed this generation or a higher one; nothing was moved

local op, claim, log, prev, version, primaries = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[8]
local record = redis.call('HMGET', KEYS[1], 'planned', 'version', 'log', 'primaries')
local zero = string.rep('0', 20)
local found = record[1] and true or false
local planned, at, owner = record[1] or zero, record[2] or zero, record[3] or log

local claimed, mine = string.sub(planned, 1, 5), string.sub(claim, 1, 5)
if claimed > mine or (claimed == mine and owner ~= log) then
  return {-1, planned, owner}
end

local function knows_all()
  for id in string.gmatch(primaries, '[^,]+') do
    if not string.find(record[4] or '', id, 1, true) then
      return false
    end
  end
  return true
end

local function claim_it()
  if planned < claim then
    planned = claim
  end
  redis.call('HSET', KEYS[1], 'planned', planned, 'version', at, 'log', log)
  if primaries ~= '' and (op == 'restore' or not found) then
    redis.call('HSET', KEYS[1], 'primaries', primaries)
  end
  return {found and 1 or 2, planned, log}
end

local function move()
  redis.call('HSET', KEYS[1], 'frontier', ARGV[6], 'watermark', ARGV[7])
  at = version
  return claim_it()
end

if op == 'planned' then
  return claim_it()
elseif op == 'restore' then
  if at < version then
    return move()
  end
  return claim_it()
elseif not found or not knows_all() then
  return {0, planned, owner}
elseif at >= version then
  return {1, planned, owner}
elseif at == prev then
  return move()
end
return {0, planned, owner}
