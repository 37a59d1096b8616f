"""Who keeps the budgets: real Redis, PostgreSQL and SQLite, asked by several workers at once.

What is promised is checked by the keepers' own clocks: each answer says when its request may be made.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis as redis_client
import sqlalchemy as sa

from dev.servers import Redis
from dnsworker import budget as arithmetic
from dnsworker import database, metering
from dnsworker.budget import SECOND_US, Answer, Budget
from dnsworker.errors import ConfigError
from dnsworker.metering import Meter
from dnsworker.pools import Pool
from dnsworker.redis_budget import KEY
from dnsworker.store import pools
from dnsworker.tables import target
from tests.schema import have_schema
from tests.unit.test_budget import assert_kept

TARGET, TARGET_ID = "one", 1
#: A budget that has been saved up since then.
LONG_AGO_US = 1_750_000_000 * SECOND_US
QUICK = Budget(500.0, 7)
NewMeter = Callable[[], Meter]


@pytest.fixture
def own_redis() -> Iterator[Redis]:
    """One that may be stopped and frozen."""
    with Redis() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database with one target."""
    if request.param == "postgresql":
        url = str(request.getfixturevalue("database_url"))
    elif request.param == "mariadb":
        url = str(request.getfixturevalue("mariadb_url"))
    else:
        url = f"sqlite:///{tmp_path / 'db'}"
        have_schema(url)
    engine = database.connect(url)
    document = {
        "name": "default",
        "ns_records": [{"hostname": "ns1.example.net."}],
        "targets": [{"name": TARGET, "type": "builtin"}],
    }
    with engine.begin() as connection:
        pools.apply(connection, [Pool.model_validate(document)])
        assert connection.execute(sa.select(target.c.id)).scalar_one() == TARGET_ID
    engine.dispose()
    return url


@pytest.fixture
def new_meter(url: str) -> Iterator[Callable[..., Meter]]:
    """Makes what one worker process has: its own connections to everything."""
    with ExitStack() as ends:

        def make(redis_url: str | None = None) -> Meter:
            engine = database.connect(url)
            ends.callback(engine.dispose)
            meter = Meter(engine, redis_url)
            ends.callback(meter.close)
            return meter

        yield make


def ask(meter: Meter, budget: Budget = QUICK, *, in_advance: bool = True) -> Answer:
    patience_us = budget.longest_wait_us if in_advance else 0
    return meter.take(TARGET, TARGET_ID, budget, patience_us=patience_us)


def ask_at_once(meters: list[Meter], budget: Budget, count: int) -> list[int]:
    """When the requests of all of them may be made: some ask in advance, some only for at once."""

    def work(meter: Meter) -> list[int]:
        rng = random.Random(4)
        answers = [ask(meter, budget, in_advance=rng.random() < 0.5) for _ in range(count)]
        return [answer.at_us for answer in answers if answer.is_granted]

    with ThreadPoolExecutor(len(meters)) as threads:
        return [moment for part in threads.map(work, meters) for moment in part]


# --- one keeper, many workers -------------------------------------------------------------------------------


@pytest.mark.parametrize("budget", [QUICK, Budget(2.5, 1), Budget(20_000.0, 3)], ids=str)
def test_workers_together_stay_within_the_database_s_budget(new_meter: NewMeter, budget: Budget) -> None:
    meters = [new_meter() for _ in range(3)]
    moments = ask_at_once(meters * 2, budget, 12)
    assert len(moments) >= 12
    assert_kept(budget, moments)


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("budget", [QUICK, Budget(2.5, 1), Budget(20_000.0, 3)], ids=str)
def test_workers_together_stay_within_redis_s_budget(
    redis: Redis, new_meter: Callable[[str], Meter], budget: Budget
) -> None:
    forget(redis)
    meters = [new_meter(redis.url) for _ in range(3)]
    moments = ask_at_once(meters * 2, budget, 40)
    assert len(moments) >= 40
    assert_kept(budget, moments)
    assert kept_in_the_database(meters[0]) is None


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_the_script_in_redis_is_the_arithmetic_that_is_tested(
    redis: Redis, new_meter: Callable[[str], Meter]
) -> None:
    forget(redis)
    keeper = new_meter(redis.url)._redis
    assert keeper is not None
    rng = random.Random(15)
    paid_us: int | None = None
    for _ in range(400):
        budget = Budget(rng.choice([0.01, 0.3, 2.5, 5.0, 333.0, 9_999.0]), rng.choice([1, 2, 5, 40]))
        patience_us = rng.choice([0, 0, 100_000, budget.longest_wait_us])
        from_empty = rng.random() < 0.05
        answer = keeper.take(TARGET, budget, patience_us=patience_us, from_empty=from_empty)
        assert answer == arithmetic.take(
            budget, paid_us, answer.now_us, patience_us=patience_us, from_empty=from_empty
        )
        paid_us = answer.paid_us


def test_every_target_has_a_budget_of_its_own(
    redis: Redis, new_meter: Callable[..., Meter], url: str
) -> None:
    slow = Budget(0.01, 1)
    for meter in (new_meter(), new_meter(redis.url)):
        forget(redis)
        with meter._engine.begin() as connection:
            connection.execute(sa.update(target).values(paid_us=None))
            connection.execute(sa.delete(target).where(target.c.id != TARGET_ID))
            connection.execute(
                sa.insert(target).values(id=2, pool_id=1, name="two", is_removed=False, failures=0)
            )
        waits = [meter.reserve(*who, slow) for who in [("one", 1), ("one", 1), ("two", 2)]]
        assert [round(wait_s, -2) for wait_s in waits] == [100, 200, 100]


# --- Redis comes and goes -----------------------------------------------------------------------------------


def test_without_redis_the_database_goes_on_and_nothing_is_granted_twice(
    own_redis: Redis, new_meter: Callable[[str], Meter], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Away, back with nothing, away once more: all requests together, by the clocks of both keepers."""
    monkeypatch.setattr(metering, "REDIS_REST_S", 0.0)
    budget = Budget(20.0, 10)
    meters = [new_meter(own_redis.url) for _ in range(2)]
    remember(own_redis, LONG_AGO_US)
    with meters[0]._engine.begin() as connection:
        connection.execute(sa.update(target).values(paid_us=LONG_AGO_US))
    moments: list[int] = []
    for change in (own_redis.stop, own_redis.start, own_redis.kill, own_redis.start, lambda: None):
        for number in range(4):  # as a worker makes them: each when it is due
            answer = ask(meters[number % 2], budget)
            time.sleep(answer.wait_s)
            moments.append(answer.at_us)
        # And all that are to be had at once, so that a second budget would show.
        answers = [ask(meters[number % 2], budget, in_advance=False) for number in range(2 * budget.burst)]
        moments += [answer.at_us for answer in answers if answer.is_granted]
        change()
    assert len(moments) >= 5 * 4
    assert_kept(budget, moments)


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_budget_that_redis_kept_all_the_while_is_not_trusted_after_it_was_away(
    own_redis: Redis, new_meter: Callable[[str], Meter], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frozen, it remembers a budget that looks saved up, of which the database has granted the requests."""
    monkeypatch.setattr(metering, "REDIS_REST_S", 0.0)
    budget = Budget(0.1, 3)
    meter = new_meter(own_redis.url)
    assert not ask(meter, budget, in_advance=False).is_granted
    own_redis.pause()
    ask(meter, budget, in_advance=False)
    with meter._engine.begin() as connection:  # the time that saves up a burst
        connection.execute(sa.update(target).values(paid_us=LONG_AGO_US))
    assert ask(meter, budget, in_advance=False).is_granted
    own_redis.cont()
    remember(own_redis, LONG_AGO_US)
    assert not ask(meter, budget, in_advance=False).is_granted


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_redis_is_not_asked_again_at_once_after_it_did_not_answer(
    own_redis: Redis, new_meter: Callable[[str], Meter], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metering, "REDIS_REST_S", 3600.0)
    meter = new_meter(own_redis.url)
    own_redis.stop()
    ask(meter)
    own_redis.start()
    ask(meter)
    assert own_redis_holds(own_redis) == []
    monkeypatch.setattr(meter, "_away_until", 0.0)
    ask(meter)
    assert own_redis_holds(own_redis) == [KEY.format(target=TARGET)]


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_an_address_that_is_no_redis_is_said_at_start(new_meter: Callable[[str], Meter]) -> None:
    with pytest.raises(ConfigError, match="DNSWORKER_REDIS_URL must be a Redis URL"):
        new_meter("http://127.0.0.1:1")


def forget(server: Redis) -> None:
    with _client(server) as client:
        client.delete(*[KEY.format(target=name) for name in ("one", "two")])


def remember(server: Redis, paid_us: int) -> None:
    with _client(server) as client:
        client.set(KEY.format(target=TARGET), paid_us)


def own_redis_holds(server: Redis) -> list[str]:
    with _client(server) as client:
        return [str(key) for key in client.scan_iter()]


def kept_in_the_database(meter: Meter) -> int | None:
    with meter._engine.connect() as connection:
        found: int | None = connection.execute(sa.select(target.c.paid_us)).scalar_one()
    return found


def _client(server: Redis) -> redis_client.Redis:
    return redis_client.Redis.from_url(server.url, decode_responses=True)
