-- Says which commands the calling user may not run. It runs none of them.
--
-- ARGV  commands, one after the other: how many words it has, and these words
--
-- Returns their places in the list, from 1. A Redis before 7 cannot tell: then there are none.

if not redis.acl_check_cmd then
  return {}
end

local denied, place, i = {}, 0, 1
while ARGV[i] do
  local words, n = {}, tonumber(ARGV[i])
  for word = 1, n do
    words[word] = ARGV[i + word]
  end
  i, place = i + n + 1, place + 1
  if not redis.acl_check_cmd(unpack(words)) then
    denied[#denied + 1] = place
  end
end
return denied
