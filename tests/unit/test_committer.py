"""What comes while a transaction runs goes into the next one; what waits for a locked zone keeps nobody."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from dnsworker import committer
from dnsworker.committer import Committer, Waiting
from dnsworker.errors import OperationIdReused
from dnsworker.intake import Arrival, Fate, Taken
from dnsworker.operations import Status

ACCEPTED = Fate(Status.ACCEPTED, 7)


class Pool:
    """Runs what is spawned when told to, one after the other."""

    def __init__(self) -> None:
        self.jobs: list[Callable[[], None]] = []

    def run(self, count: int | None = None) -> None:
        while self.jobs and count != 0:
            self.jobs.pop(0)()
            count = None if count is None else count - 1


class Database:
    """Takes everything in, but for locked zones; remembers what came together."""

    def __init__(self) -> None:
        self.groups: list[tuple[list[str], bool]] = []
        self.locked: set[str] = set()
        self.taken = Taken()

    def receive(self, arrivals: Sequence[Arrival], *, wait: bool) -> Taken:
        self.groups.append(([one.operation_id for one in arrivals], wait))
        taken = Taken(failed=self.taken.failed, reused=self.taken.reused)
        for one in arrivals:
            if one.arguments["zone"] in self.locked and not wait:
                taken.busy.append(one)
            else:
                taken.fates[one.operation_id] = ACCEPTED
        return taken


class Bench:
    def __init__(self) -> None:
        self.pool, self.database = Pool(), Database()
        self.committer = Committer(self.database.receive, self.pool.jobs.append)
        self.results: dict[str, Any] = {}

    def put(self, operation_id: str, zone: str = "a.example.") -> None:
        def done(result: Any) -> None:
            assert operation_id not in self.results, "told once"
            self.results[operation_id] = result

        self.committer.put(Waiting(Arrival(operation_id, "put_record", {"zone": zone}), done))


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_one_is_taken_in_at_once_and_what_came_meanwhile_together(bench: Bench) -> None:
    bench.put("1")
    assert len(bench.pool.jobs) == 1
    receive = bench.database.receive

    def slowly(arrivals: Sequence[Arrival], *, wait: bool) -> Taken:
        if len(bench.database.groups) == 0:
            bench.put("2")
            bench.put("3")
        return receive(arrivals, wait=wait)

    bench.committer._receive = slowly
    bench.pool.run()
    assert [ids for ids, _ in bench.database.groups] == [["1"], ["2", "3"]]
    assert bench.results == dict.fromkeys("123", ACCEPTED)
    assert bench.pool.jobs == []


def test_no_more_than_a_batch_at_once_and_the_place_in_the_pool_is_given_up_between(bench: Bench) -> None:
    for number in range(committer.AT_ONCE + 1):
        bench.put(str(number))
    bench.pool.jobs.append(lambda: bench.results.update(other="came in between"))
    bench.pool.run()
    assert [len(ids) for ids, _ in bench.database.groups] == [committer.AT_ONCE, 1]
    assert list(bench.results)[committer.AT_ONCE] == "other"


def test_what_a_locked_zone_holds_up_comes_first_when_it_is_free(bench: Bench) -> None:
    bench.database.locked = {"a.example."}
    bench.put("1")
    bench.put("other", "b.example.")
    bench.pool.run(1)
    assert bench.results == {"other": ACCEPTED}
    bench.put("2")
    bench.database.locked = set()
    bench.pool.run()
    assert [ids for ids, _ in bench.database.groups] == [["1", "other"], ["1", "2"]]


def test_a_zone_that_is_locked_for_long_gets_a_lane_and_keeps_its_order(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committer, "BUSY_S", 0.0)
    bench.database.locked = {"a.example."}
    bench.put("1")
    bench.pool.run(2)
    (lane,) = bench.pool.jobs  # waits for the zone, in a thread of its own
    bench.put("2", "A.example")  # the same zone, before anybody has validated its name
    bench.put("other", "b.example.")
    assert bench.pool.jobs[0] is lane
    bench.pool.jobs[1]()
    assert bench.results == {"other": ACCEPTED}
    lane()
    assert bench.database.groups[-1] == (["1", "2"], True)
    bench.put("3")
    bench.database.locked = set()
    bench.pool.jobs = bench.pool.jobs[-1:]
    bench.pool.run()
    assert bench.database.groups[-1] == (["3"], False), "the lane is closed again"


def test_what_came_before_a_lane_was_opened_is_not_passed_by_what_comes_after(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committer, "BUSY_S", 0.0)
    bench.database.locked = {"a.example."}
    receive = bench.database.receive

    def while_more_comes(arrivals: Sequence[Arrival], *, wait: bool) -> Taken:
        if len(bench.database.groups) == 1:
            bench.put("2")
            bench.put("other", "b.example.")
        return receive(arrivals, wait=wait)

    bench.committer._receive = while_more_comes
    bench.put("1")
    bench.pool.run(2)
    bench.put("3")
    bench.pool.run()
    assert [one for one in bench.results if one != "other"] == ["1", "2", "3"]
    assert bench.results == dict.fromkeys(("1", "2", "3", "other"), ACCEPTED)


def test_each_hears_of_its_own_end(bench: Bench) -> None:
    reused, failed = OperationIdReused("used before"), RuntimeError("nobody foresaw this")
    bench.database.taken = Taken(reused={"1": reused}, failed={"2": failed})
    for operation_id in "123":
        bench.put(operation_id)
    bench.pool.run()
    assert bench.results == {"1": reused, "2": failed, "3": ACCEPTED}


def test_when_nothing_can_be_taken_in_all_hear_why_and_the_next_ones_go_on(bench: Bench) -> None:
    away = ConnectionError("the database is away")
    receive, bench.committer._receive = bench.committer._receive, _raising(away)
    bench.put("1")
    bench.put("2")
    bench.pool.run()
    assert bench.results == {"1": away, "2": away}
    bench.committer._receive = receive
    bench.put("3")
    bench.pool.run()
    assert bench.results["3"] == ACCEPTED


def test_after_stop_nothing_more_is_taken(bench: Bench) -> None:
    bench.put("1")
    bench.committer.stop()
    bench.pool.run()
    bench.put("2")
    bench.pool.run()
    assert (bench.results, bench.database.groups, bench.pool.jobs) == ({}, [], [])


def test_threads_lose_nothing() -> None:
    database, threads, told = Database(), [], threading.Semaphore(0)

    def spawn(work: Callable[[], None]) -> None:
        threads.append(threading.Thread(target=work))
        threads[-1].start()

    at_once = Committer(database.receive, spawn)

    def submit(first: int) -> None:
        for number in range(first, first + 500):
            arrival = Arrival(str(number), "put_record", {"zone": f"z{number % 7}.example."})
            at_once.put(Waiting(arrival, lambda _: told.release()))

    submitters = [threading.Thread(target=submit, args=(500 * index,)) for index in range(4)]
    for one in submitters:
        one.start()
    for _ in range(2000):
        assert told.acquire(timeout=60)
    taken = [one for ids, _ in database.groups for one in ids]
    assert sorted(taken, key=int) == [str(number) for number in range(2000)]


def _raising(error: Exception) -> Any:
    def receive(arrivals: Sequence[Arrival], *, wait: bool) -> Taken:
        raise error

    return receive
