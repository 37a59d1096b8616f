"""Budgets kept in Redis: one script, one round trip, Redis' own clock.

Written here (2026-11-25): `limits` 5.8 counts by the caller's clock, knows windows only and nothing in
advance, and neither it nor another library on PyPI keeps the same budget in a database as well.
"""

from __future__ import annotations

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from dnsworker.budget import Answer, Budget
from dnsworker.errors import ConfigError

#: A request to a target isn't worth a longer wait: there is another keeper.
TIMEOUT_S = 1.0
#: What is forgotten begins empty, so this is only about tidiness.
KEEP_MS = 86_400_000
KEY = "dnsworker:budget:{target}"

#: What Redis raises that is away, frozen, read-only or full.
AWAY = (redis.RedisError, OSError)

#: `dnsworker.budget.take` in Lua: its numbers are doubles, exact up to 2⁵³ (µs since 1970: until 2255).
SCRIPT = """
local interval, burst, patience = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local longest, from_empty, keep = tonumber(ARGV[4]), ARGV[5] == '1', tonumber(ARGV[6])
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local kept = redis.call('GET', KEYS[1])
local paid = kept and tonumber(kept)
if not paid or from_empty then
  paid = math.max(paid or 0, now + burst * interval)
end
paid = math.min(math.max(paid, now), now + burst * interval + longest)
local at = math.max(now, paid - (burst - 1) * interval)
local granted = 0
if at - now <= patience then
  paid = paid + interval
  granted = 1
end
local for_ms = string.format('%.0f', (paid - now) / 1000 + keep)
redis.call('SET', KEYS[1], string.format('%.0f', paid), 'PX', for_ms)
return {paid, now, at, granted}
"""


def connect(url: str) -> redis.Redis:
    """The Redis that workers share; nothing is connected before it is needed. Raises `ConfigError`."""
    try:
        # One more attempt: a connection that was kept may be from before Redis' last restart.
        return redis.Redis.from_url(
            url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S, retry=Retry(NoBackoff(), 1)
        )
    except ValueError as exc:
        raise ConfigError("DNSWORKER_REDIS_URL must be a Redis URL (redis:// or rediss://)") from exc


class RedisBudgets:
    """Safe for threads; nothing is connected before it is needed."""

    def __init__(self, url: str) -> None:
        """Raises `ConfigError`."""
        self._redis = connect(url)
        self._script = self._redis.register_script(SCRIPT)

    def take(self, target: str, budget: Budget, *, patience_us: int, from_empty: bool) -> Answer:
        """As `dnsworker.budget.take`. Raises one of `AWAY`, within a few seconds."""
        paid_us, now_us, at_us, is_granted = self._script(
            keys=[KEY.format(target=target)],
            args=[
                budget.interval_us, budget.burst, patience_us,
                budget.longest_wait_us, int(from_empty), KEEP_MS,
            ],
        )  # fmt: skip
        return Answer(paid_us, now_us, at_us, bool(is_granted))

    def close(self) -> None:
        self._redis.close()
