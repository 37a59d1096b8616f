"""What `limits` do to deliveries, over all workers: budgets, rests that a target asked for, concurrency."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from dev.servers import Redis
from dnsworker import metering
from dnsworker.capabilities import Capabilities
from dnsworker.database import AWAY
from dnsworker.errors import BackendError, RateLimited
from dnsworker.operations import Status
from dnsworker.pools import Pool
from dnsworker.records import RRset
from dnsworker.reports.system import show_status, show_targets
from dnsworker.runtime import Runtime
from dnsworker.store import breakers, claims, pools
from dnsworker.tables import delivery, now, target
from tests.unit.test_budget import assert_kept
from tests.world import StubSignals, World, a_world

DEADLINE_S = 30.0
#: One request in a thousand seconds: none in a test.
NEVER = 0.001
#: Half of the witnesses are enough: the other target may do as it likes.
HALF = {"threshold_percentage": 50}


def pool_of(**limits: dict[str, Any]) -> dict[str, Any]:
    """A pool of memory targets with these limits."""
    targets = [{"name": name, "type": "memory", "limits": each} for name, each in limits.items()]
    return {"targets": targets, **(HALF if len(targets) > 1 else {})}


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def url(request: pytest.FixtureRequest) -> str | None:
    """Of a database; None: a new SQLite."""
    fixtures = {"postgresql": "database_url", "mariadb": "mariadb_url"}
    return str(request.getfixturevalue(fixtures[request.param])) if request.param in fixtures else None


@contextmanager
def two_workers(world: World) -> Iterator[list[Runtime]]:
    """The world's own runtime and another one on the same database."""
    other = Runtime(world.settings, StubSignals())
    other.start()
    try:
        yield [world.runtime, other]
    finally:
        other.stop()


def work(runtimes: list[Runtime], is_reached: Callable[[], bool], *targets: str, threads: int = 4) -> None:
    """Let the workers handle wake-ups for the targets, in several threads each, until something holds."""
    deadline = time.monotonic() + DEADLINE_S
    is_done = threading.Event()

    def deliver(runtime: Runtime) -> None:
        while not is_done.is_set():
            for name in targets:
                with suppress(*AWAY):  # a file that is locked for long: a task is tried again then
                    runtime.deliver(name)
            is_done.wait(0.002)

    with ThreadPoolExecutor(threads * len(runtimes)) as pool:
        running = [pool.submit(deliver, runtime) for runtime in runtimes for _ in range(threads)]
        try:
            while not is_reached():
                for broken in filter(Future.done, running):
                    broken.result()
                assert time.monotonic() < deadline, "not reached in time"
                time.sleep(0.01)  # the loop's own pace
        finally:
            is_done.set()
    for one in running:
        one.result()


def create(world: World, count: int) -> list[str]:
    """So many zones."""
    return [
        world.submit("create_zone", zone=f"z{number}.example.", email="a@example.net")
        for number in range(count)
    ]


def rows(world: World, name: str) -> list[Any]:
    """The deliveries to a target."""
    query = sa.select(delivery).join(target, target.c.id == delivery.c.target_id).where(target.c.name == name)
    with world.engine.connect() as connection:
        return list(connection.execute(query.order_by(delivery.c.zone_id)))


def end_rest(world: World) -> None:
    """The time that the target asked for is over."""
    with world.engine.begin() as connection:
        connection.execute(sa.text("UPDATE target SET rests_until = NULL"))
        is_open = delivery.c.due_at.is_not(None)
        connection.execute(sa.update(delivery).where(is_open).values(due_at=now()))


# --- budgets ------------------------------------------------------------------------------------------------


def test_without_budget_nothing_is_claimed_or_asked_and_the_reason_is_shown(
    tmp_path: Path, url: str | None
) -> None:
    with a_world(tmp_path, "one", url=url, pool=pool_of(one={"requests_per_second": NEVER})) as world:
        (operation,) = create(world, 1)
        assert world.runtime.deliver("one") == "one: 0 delivered"
        (row,) = rows(world, "one")
        assert (row.owner, row.epoch, row.attempts) == (None, 0, 0)
        assert row.due_at is not None
        assert world.servers["one"].requests == []
        words = "target one: waits its turn within 0.001 requests per second"
        assert (world.show(operation).message or "").startswith(words)


def test_a_target_without_budget_leaves_the_threads_to_others(tmp_path: Path, url: str | None) -> None:
    limits = pool_of(slow={"requests_per_second": NEVER}, quick={})
    with a_world(tmp_path, "slow", "quick", url=url, pool=limits) as world:
        operations = create(world, 20)
        # One thread, and the slow target first each time: it would keep it, if it waited in it.
        work(
            [world.runtime],
            lambda: all(world.show(one).status is Status.ACTIVE for one in operations),
            "slow", "quick", threads=1,
        )  # fmt: skip
        assert len(world.servers["quick"].zones) == 20
        assert world.servers["slow"].requests == []


def test_the_target_is_woken_when_there_is_a_budget_again(tmp_path: Path) -> None:
    """Without a sweep."""
    with a_world(tmp_path, "one", pool=pool_of(one={"requests_per_second": 20, "burst": 1})) as world:
        operations = create(world, 3)
        deadline = time.monotonic() + DEADLINE_S
        while not all(world.show(one).status.is_final for one in operations):
            assert time.monotonic() < deadline, world.explain()
            world.deliver()
            time.sleep(0.005)  # the loop's own pace


def test_wake_ups_for_a_budget_dont_multiply(tmp_path: Path) -> None:
    with a_world(tmp_path, "one", pool=pool_of(one={"requests_per_second": NEVER})) as world:
        create(world, 1)
        asked: list[float] = []
        world.runtime._deliverer._turnstile._on_retry = lambda name, delay_s: asked.append(delay_s)
        for _ in range(50):
            world.runtime.deliver("one")
        assert len(asked) == 1
        assert 900 < asked[0] <= 1000


@pytest.mark.parametrize("with_redis", [False, True], ids=["database", "redis"])
def test_two_workers_make_no_request_that_they_have_not_taken(
    tmp_path: Path, url: str | None, redis: Redis, with_redis: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every request is taken first; and all that was taken is within the budget, by the keeper's clock."""
    granted: list[int] = []
    take = metering.Meter.take

    def spy(self: metering.Meter, *arguments: Any, **more: Any) -> Any:
        answer = take(self, *arguments, **more)
        if answer.is_granted:
            granted.append(answer.at_us)
        return answer

    monkeypatch.setattr(metering.Meter, "take", spy)
    monkeypatch.setattr(metering, "LATE_S", 3600.0)  # none lapses, however busy the machine is
    settings = {"redis_url": redis.url} if with_redis else {}
    limits = {"requests_per_second": 100, "burst": 4}
    with a_world(tmp_path, "one", url=url, pool=pool_of(one=limits), **settings) as world:
        create(world, 12)
        budget = world.runtime._directory.by_name("default").pool.target("one").limits.budget
        with two_workers(world) as runtimes:
            work(runtimes, lambda: all(not one.due_at for one in rows(world, "one")), "one")
        requests = world.servers["one"].requests
    assert requests.count("create") == 12
    # Who came second for one of the last deliveries has taken a request for nothing.
    assert len(requests) <= len(granted) < 2 * len(requests)
    assert budget is not None
    assert_kept(budget, granted)


def test_a_budget_in_pools_yaml_takes_effect_at_workers_that_run(tmp_path: Path) -> None:
    with a_world(tmp_path, "one", pool=pool_of(one={"requests_per_second": NEVER})) as world:
        (operation,) = create(world, 1)
        world.runtime.deliver("one")
        with world.engine.begin() as connection:
            (known,) = pools.read(connection)
            without = {**known.pool.to_document(), "targets": [{"name": "one", "type": "memory"}]}
            pools.apply(connection, [Pool.model_validate(without)])
        world.runtime.reload_pools()
        assert world.end_of(operation).status is Status.ACTIVE


# --- rests --------------------------------------------------------------------------------------------------


def asks_for_patience(retry_after_s: float | None) -> Callable[[Collection[RRset]], BackendError | None]:
    return lambda rrsets: RateLimited("429: slow down", retry_after_s=retry_after_s)


def test_a_target_that_asks_for_fewer_requests_gets_none_from_any_worker(
    tmp_path: Path, url: str | None
) -> None:
    with a_world(tmp_path, "one", url=url) as world, two_workers(world) as runtimes:
        world.servers["one"].judge = asks_for_patience(1800.0)
        operations = create(world, 5)
        runtimes[0].deliver("one")
        made = len(world.servers["one"].requests)
        for runtime in runtimes * 3:
            assert runtime.deliver("one") == "one: 0 delivered"
        assert len(world.servers["one"].requests) == made
        assert sum(row.attempts for row in rows(world, "one")) == 1
        words = "target one: asked for fewer requests: 429: slow down; next attempt at "
        for one in operations:  # also those that were not tried themselves
            assert (world.show(one).message or "").startswith(words)
        zone = world.zone("z1.example.")
        assert zone["targets"][0]["last_error"] == "asked for fewer requests: 429: slow down"
        with world.engine.connect() as connection:
            moment = datetime.fromisoformat(show_status(connection)["at"])
            (shown,) = show_targets(connection)
        rest_s = (datetime.fromisoformat(shown["rests_until"]) - moment).total_seconds()
        assert 1800 - DEADLINE_S < rest_s <= 1800
        assert zone["targets"][0]["next_attempt_at"] is not None
        end_rest(world)
        world.servers["one"].judge = lambda rrsets: None
        for one in operations:
            assert world.end_of(one).status is Status.ACTIVE


def test_a_rest_of_more_than_an_hour_is_cut(tmp_path: Path) -> None:
    with a_world(tmp_path, "one") as world:
        world.servers["one"].judge = asks_for_patience(10 * 86400.0)
        create(world, 1)
        world.runtime.deliver("one")
        with world.engine.connect() as connection:
            target_id = connection.execute(sa.select(target.c.id)).scalar_one()
            rest = breakers.rest_left(connection, target_id)
        assert rest is not None
        assert 3600 - DEADLINE_S < rest[0] <= 3600


def test_a_shorter_rest_doesnt_end_a_longer_one(tmp_path: Path) -> None:
    with a_world(tmp_path, "one") as world, world.engine.begin() as connection:
        target_id = connection.execute(sa.select(target.c.id)).scalar_one()
        for delay_s in (1800.0, 5.0):
            breakers.rest(connection, target_id, "slow down", delay_s=delay_s)
        rest = breakers.rest_left(connection, target_id)
        assert rest is not None
        assert rest[0] > 5.0


def test_without_a_time_the_rests_grow_and_end_with_the_first_success(tmp_path: Path) -> None:
    with a_world(tmp_path, "one") as world:
        world.servers["one"].judge = asks_for_patience(None)
        operations = create(world, 3)
        world.until(lambda: world.row("SELECT failures FROM target").failures >= 3, "it did not count")
        world.servers["one"].judge = lambda rrsets: None
        for one in operations:
            assert world.end_of(one).status is Status.ACTIVE
        assert world.row("SELECT failures FROM target").failures == 0


@pytest.mark.parametrize("limits", [{}, {"requests_per_second": 1000}], ids=["unmetered", "metered"])
def test_a_delivery_under_way_stops_when_the_target_asks_another_worker_for_fewer_requests(
    tmp_path: Path, limits: dict[str, Any]
) -> None:
    """It is no attempt of its own, and goes on where it was."""
    with a_world(tmp_path, "one", pool=pool_of(one=limits)) as world:
        world.servers["one"].capabilities = Capabilities(fencing="server", max_batch=10)  # so in parts

        def another_worker_is_told(rrsets: Collection[RRset]) -> None:
            with world.engine.begin() as connection:
                target_id = connection.execute(sa.select(target.c.id)).scalar_one()
                breakers.rest(connection, target_id, "asked for fewer requests: not so fast", delay_s=900.0)

        wishes = [{"action": "put", "name": f"h{i}", "type": "A", "data": ["192.0.2.1"]} for i in range(30)]
        world.create()
        world.servers["one"].requests.clear()
        world.servers["one"].judge = another_worker_is_told
        operation = world.submit("change_zone", changes=wishes)
        world.until(lambda: bool(world.servers["one"].requests), "nothing was sent")
        (row,) = rows(world, "one")
        assert world.servers["one"].requests == ["apply"], "there were more to come"
        assert (row.owner, row.attempts, row.last_error) == (None, 0, None)
        world.servers["one"].judge = lambda rrsets: None
        end_rest(world)
        assert world.end_of(operation).status is Status.ACTIVE
        assert len(world.served("one")) == 30


# --- concurrency --------------------------------------------------------------------------------------------


class Gauge:
    """How many are inside at once, at most."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self._guard = threading.Lock()

    def __call__(self, rrsets: Collection[RRset]) -> None:
        with self._guard:
            self.now += 1
            self.most = max(self.most, self.now)
        time.sleep(0.02)  # a server takes its time
        with self._guard:
            self.now -= 1


@pytest.mark.parametrize(("limits", "expected"), [({"concurrency": 2}, range(1, 3)), ({}, range(3, 9))])
def test_a_limit_of_deliveries_at_once_holds_over_all_workers(
    tmp_path: Path, database_url: str, limits: dict[str, Any], expected: Collection[int]
) -> None:
    with a_world(tmp_path, "one", url=database_url, pool=pool_of(one=limits)) as world:
        gauge = world.servers["one"].judge = Gauge()
        create(world, 24)
        with two_workers(world) as runtimes:
            work(runtimes, lambda: all(not one.due_at for one in rows(world, "one")), "one")
        assert gauge.most in expected
        assert len(world.servers["one"].zones) == 24


@pytest.mark.parametrize("limits", [{}, {"requests_per_second": 1000}], ids=["unmetered", "metered"])
def test_a_delivery_of_somebody_else_counts_until_its_lease_is_over(
    tmp_path: Path, limits: dict[str, Any]
) -> None:
    """And nothing is taken from a budget for one that can't begin."""
    pool = pool_of(one={"concurrency": 1, **limits})
    with a_world(tmp_path, "one", pool=pool) as world, ExitStack() as ends:
        create(world, 2)
        other = Runtime(world.settings, StubSignals())
        other.start()
        ends.callback(other.stop)
        with world.engine.begin() as connection:
            claim = claims.claim_next(connection, 1, "one", owner=other._lock.owner, lease_s=3600.0)
        assert claim is not None
        assert world.runtime.deliver("one") == "one: 0 delivered"
        assert world.servers["one"].requests == []
        assert world.row("SELECT paid_us FROM target").paid_us is None
        with world.engine.begin() as connection:
            claims.renew(connection, claim, -1.0)
        world.until(lambda: len(world.servers["one"].zones) == 2, "the deliveries did not go on")
