-- Upserts vectors of one cluster slot: each is written only over an older version of itself.
--
-- KEYS       the vectors' keys, each once: first the live vectors', then the tombstones'
-- ARGV[1]    the guard: the last second of Redis's clock at which this call may act
-- ARGV[2]    the caller's task, five digits
-- ARGV[3]    how many of the keys are live
-- ARGV[4]    how long a tombstone lives, in milliseconds
-- ARGV[5...] the values, one a key
--
-- A value is version (20 digits), task (5 digits), hash (16 hex digits), payload: docs/format/online.md.
--
-- Returns integers: {refused, written, equal, stale, index, finding, index, finding ...}: refused is 1 where the guard has passed (then nothing was written), and each pair names a key
-- that was left alone and must be spoken of: its index from 1, and either the number of the task that owns it, or
--   -1 divergent: the version is stored with another hash
--   -2 not a vector: the key holds something else, of whatever type
--
-- Versions and hashes are compared as strings. Redis compares strings by locale, but fixed-width digits sort alike in every locale; as Lua numbers they would lose digits.

if tonumber(redis.call('TIME')[1]) > tonumber(ARGV[1]) then
  return {1, 0, 0, 0}
end

local sub, find = string.sub, string.find
local keys, task, live = KEYS, ARGV[2], tonumber(ARGV[3])
local stored = redis.call('MGET', unpack(keys))
local writes, n, tombstones, equal, stale = {}, 0, 0, 0, 0
local result = {0, 0, 0, 0}

-- Whether a value begins as a vector does, with 25 digits, and is long enough to be one. Matching is dear beside comparing, so it is left to the cases that are rare.
local function is_vector(value)
  return #value > 41 and (find(value, '%D') or 0) > 25
end

-- MGET tells nothing of a key that holds another type, and MSET would overwrite it. One EXISTS for all that seem absent finds out whether there is any.
local absent, other = {}, {}
for i = 1, #keys do
  if not stored[i] then
    absent[#absent + 1] = keys[i]
  end
end
if #absent > 0 and redis.call('EXISTS', unpack(absent)) > 0 then
  for i = 1, #absent do
    other[absent[i]] = redis.call('EXISTS', absent[i]) == 1
  end
end

for i = 1, #keys do
  local old, new, finding, write = stored[i], ARGV[4 + i], nil, false
  if not old and other[keys[i]] then
    finding = -2
  elseif not old then
    write = true
  elseif sub(old, 21, 25) ~= task then
    finding = is_vector(old) and tonumber(sub(old, 21, 25)) or -2
  else
    local was, is = sub(old, 1, 20), sub(new, 1, 20)
    if was < is then
      write = true
    elseif was == is then
      if sub(old, 26, 41) == sub(new, 26, 41) and #old == #new then
        equal = equal + 1
      else
        finding = -1
      end
    elseif is_vector(old) then
      stale = stale + 1
    else
      finding = -2
    end
  end
  if finding then
    result[#result + 1], result[#result + 2] = i, finding
  elseif write and i <= live then
    writes[n + 1], writes[n + 2] = keys[i], new
    n = n + 2
  elseif write then
    redis.call('SET', keys[i], new, 'PX', ARGV[4])
    tombstones = tombstones + 1
  end
end

-- MSET, as SET does, takes away the expiry of a tombstone that it overwrites.
if n > 0 then
  redis.call('MSET', unpack(writes))
end

result[2], result[3], result[4] = n / 2 + tombstones, equal, stale
return result
