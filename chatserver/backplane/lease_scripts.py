"""Lua scripts of `RedisLeases`, each one atomic step.

The keys of a shard `k` of the users, under the prefix:

    presence:{k}          users online -> when the last of their leases ends
    presence:{k}:untold   users whose change is to be told -> when any node may take it;
                          a node that takes it moves that time on, which is its claim
    presence:{k}:life     a random-like word, made when it is missing: it is another
                          one after Redis has lost its data
    presence:{k}:<user>   the user's open sockets, and "-" for all that have closed
                          -> when the lease ends
    presence:{k}:handed:<node>
                          what the node's newest CLAIM handed to it, as JSON

All times are Redis' own, in milliseconds. Every script gets the first three keys; those
that concern sockets get one of `presence:{k}:<user>` for each.

A node may not hear the answer to a CLAIM, and then nobody knows that these changes are
its own to tell. So it numbers its CLAIMs and says with each which one it last heard the
answer to: what a later one handed to it is due again, unless somebody has taken it since.
That concerns no other node, nor those of a version that has no such key.
"""

from typing import Final

from chatserver.backplane.redis_calls import Script

REFUSED: Final = -1

_KEYS: Final = """
local online, untold, life_key = KEYS[1], KEYS[2], KEYS[3]
local life = redis.call('GET', life_key)
if not life then
    life = t[1] .. '.' .. t[2]
    redis.call('SET', life_key, life)
end
"""

ACQUIRE: Final = Script(
    _KEYS
    + """
local ttl, claim = tonumber(ARGV[1]), now + ARGV[2]
local answers = {}
for i = 4, #KEYS do
    local key, at = KEYS[i], 3 * (i - 4) + 3
    local user, socket, cap = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2])
    redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
    local open = redis.call('ZCARD', key)
    if redis.call('ZSCORE', key, '-') then open = open - 1 end
    if cap > 0 and open >= cap and not redis.call('ZSCORE', key, socket) then
        answers[i - 3] = -1
    else
        redis.call('ZADD', key, now + ttl, socket)
        redis.call('PEXPIRE', key, ttl)
        answers[i - 3] = 0
        if redis.call('ZADD', online, 'GT', now + ttl, user) == 1 then
            redis.call('ZADD', untold, claim, user)
            answers[i - 3] = claim
        end
    end
end
return answers
"""
)
"""ttl, claim's length, then user, socket and cap of each. For each when the claim to tell
that the user came online ends; 0 if they were; REFUSED if they have too many."""

RENEW: Final = Script(
    _KEYS
    + """
local ttl, is_intact = tonumber(ARGV[1]), ARGV[2] == life
for i = 4, #KEYS do
    local key, at = KEYS[i], 2 * (i - 4) + 3
    local user, socket = ARGV[at], ARGV[at + 1]
    redis.call('ZADD', key, now + ttl, socket)
    redis.call('PEXPIRE', key, ttl)
    if redis.call('ZADD', online, 'GT', now + ttl, user) == 1 and is_intact then
        redis.call('ZADD', untold, now, user)
    end
end
return life
"""
)
"""ttl, the life that the node knows, then user and socket of each. A user who was not
online is to be told about only if Redis lost nothing: then they had been told offline."""

SHORTEN: Final = Script(
    _KEYS
    + """
for i = 4, #KEYS do
    local key, at = KEYS[i], 3 * (i - 4) + 1
    local user, socket, grace = ARGV[at], ARGV[at + 1], ARGV[at + 2]
    if redis.call('ZREM', key, socket) == 1 then
        redis.call('ZADD', key, 'GT', now + grace, '-')
        local last = redis.call('ZRANGE', key, -1, -1, 'WITHSCORES')
        redis.call('ZADD', online, last[2], user)
        -- Last, for a grace of 0 takes the key away.
        if redis.call('PTTL', key) < tonumber(grace) then
            redis.call('PEXPIRE', key, grace)
        end
    end
end
return life
"""
)
"""User, socket and grace of each."""

RETELL: Final = Script(
    _KEYS
    + """
for i = 2, #ARGV do
    redis.call('ZADD', untold, now + ARGV[1], ARGV[i])
end
return life
"""
)
"""Takes seconds from now, and the users to tell about then, whatever has become of them."""

CLAIM: Final = Script(
    _KEYS
    + """
local claim, limit, number, heard = now + ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local handed = cjson.decode(redis.call('GET', KEYS[4]) or '{"number": 0}')
if handed.number > number then return {life, claim} end
if handed.number > heard then
    for _, user in ipairs(handed.users) do
        if tonumber(redis.call('ZSCORE', untold, user) or 0) == handed.claim then
            redis.call('ZADD', untold, now, user)
        end
    end
end
for _, user in ipairs(redis.call('ZRANGEBYSCORE', online, '-inf', now, 'LIMIT', 0, limit)) do
    redis.call('ZREM', online, user)
    redis.call('ZADD', untold, now, user)
end
local answer = redis.call('ZRANGEBYSCORE', untold, '-inf', now, 'LIMIT', 0, limit)
for _, user in ipairs(answer) do
    redis.call('ZADD', untold, claim, user)
end
handed = cjson.encode({number = number, claim = claim, users = answer})
redis.call('SET', KEYS[4], handed, 'PX', ARGV[1])
table.insert(answer, 1, claim)
table.insert(answer, 1, life)
return answer
"""
)
"""The claim's length, how many users at most, the number of this CLAIM, and of the newest
one whose answer the node has heard. The life, when the claim ends, and the users whose
change the caller is to tell: none if a CLAIM with a higher number came before it."""

SETTLE: Final = Script(
    _KEYS
    + """
for i = 1, #ARGV, 2 do
    local claim = redis.call('ZSCORE', untold, ARGV[i])
    if claim and tonumber(claim) == tonumber(ARGV[i + 1]) then
        redis.call('ZREM', untold, ARGV[i])
    end
end
return life
"""
)
"""User and the end of the claim of each; a newer claim stays."""
