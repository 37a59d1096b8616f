"""A metered backend: what is taken from the budget, when, and what happens while it waits."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping

import pytest

from dnsworker.backend import Backend, Health, Options, Receipt, ZoneDelta
from dnsworker.capabilities import Capabilities
from dnsworker.contents import ZoneContents
from dnsworker.convergence import Resting
from dnsworker.errors import ClaimLost
from dnsworker.metering import Metered
from dnsworker.names import Name
from dnsworker.plan import Plan
from dnsworker.records import SOA, Key, RRset

ZONE = Name("example.org.")
SOA_ = SOA(Name("a."), Name("b."), 1)
CONTENTS = ZoneContents.of(ZONE, SOA_, [])


class StubBackend(Backend):
    """Makes three requests in `apply` and one in everything else; writes down each."""

    capabilities = Capabilities()

    def __init__(self, said: list[str]) -> None:
        super().__init__("stub", Options())
        self.said = said

    def _request(self, name: str, answer: object = None) -> object:
        self.said.append(name)
        return answer

    def read_zone(self, zone: Name) -> ZoneContents | None:
        self._request("read_zone")
        return CONTENTS

    def read_soa(self, zone: Name) -> SOA | None:
        self._request("read_soa")
        return SOA_

    def read_rrsets(self, zone: Name, keys: Collection[Key]) -> Mapping[Key, RRset]:
        self._request("read_rrsets")
        return {}

    def read_changes(self, zone: Name, since: SOA) -> ZoneDelta | None:
        self._request("read_changes")
        return None

    def create_zone(self, zone: ZoneContents) -> None:
        self._request("create_zone")

    def apply(self, plan: Plan) -> Receipt:
        self._request("look")
        self.checkpoint()
        self._request("change")
        self.renew()
        self.checkpoint()
        self._request("notify")
        return Receipt(plan.desired_soa, "id")

    def has_arrived(self, zone: Name, change_id: str) -> bool:
        self._request("has_arrived")
        return True

    def delete_zone(self, zone: Name) -> None:
        self._request("delete_zone")

    def check(self) -> Health:
        self._request("check")
        return Health(True, "well")


class Bench:
    """One metered delivery; `said` is everything that happened, in order, and the time is its own."""

    def __init__(self, *waits_s: float) -> None:
        self.said: list[str] = []
        self.now = 1000.0
        #: How long each checkpoint takes.
        self.checkpoints_s: list[float] = []
        self._waits_s = list(waits_s)
        self.metered = Metered(
            StubBackend(self.said), self._reserve,
            paid_at=self.now, renew_every_s=20.0, clock=lambda: self.now, sleep=self._sleep,
        )  # fmt: skip
        self.metered.checkpoint = self._check
        self.metered.renew = lambda: self.said.append("renew")

    def _reserve(self) -> float:
        self.said.append("reserve")
        return self._waits_s.pop(0) if self._waits_s else 0.0

    def _check(self) -> None:
        self.said.append("checkpoint")
        self.now += self.checkpoints_s.pop(0) if self.checkpoints_s else 0.001

    def _sleep(self, seconds: float) -> None:
        self.said.append(f"sleep {seconds:g}")
        self.now += seconds


PLAN = Plan(ZONE, SOA_, SOA_.with_serial(2), ())


def test_the_first_request_is_paid_for_and_each_further_one_is_reserved_before_it_is_made() -> None:
    bench = Bench()
    bench.metered.apply(PLAN)
    assert bench.said == [
        "checkpoint", "look",
        "reserve", "checkpoint", "change",
        "renew",
        "reserve", "checkpoint", "notify",
    ]  # fmt: skip


def test_every_method_is_a_request_and_gives_what_the_backend_gives() -> None:
    bench = Bench()
    backend = bench.metered
    assert backend.read_zone(ZONE) == CONTENTS
    assert backend.read_soa(ZONE) == SOA_
    assert backend.read_rrsets(ZONE, []) == {}
    assert backend.read_changes(ZONE, SOA_) is None
    assert backend.create_zone(CONTENTS) is None
    assert backend.apply(PLAN).change_id == "id"
    assert backend.has_arrived(ZONE, "id")
    backend.delete_zone(ZONE)
    assert backend.check().ok
    made = [one for one in bench.said if one not in ("checkpoint", "reserve", "renew")]
    assert len(made) == bench.said.count("checkpoint") == bench.said.count("reserve") + 1 == 11


def test_no_method_of_the_contract_is_forgotten() -> None:
    methods = {name for name, value in vars(Backend).items() if inspect.isfunction(value) and name[0] != "_"}
    assert methods <= set(vars(Metered))


def test_the_claim_is_renewed_while_a_request_is_waited_for() -> None:
    bench = Bench(50.0)
    bench.metered.read_soa(ZONE)
    bench.said.clear()
    bench.metered.read_soa(ZONE)
    assert bench.said == [
        "reserve", "sleep 20", "renew", "sleep 20", "renew", "sleep 10", "renew", "checkpoint", "read_soa",
    ]  # fmt: skip


@pytest.mark.parametrize("is_first", [True, False])
def test_a_permission_that_has_become_old_lapses(is_first: bool) -> None:
    bench = Bench()
    if not is_first:
        bench.metered.read_zone(ZONE)
        bench.said.clear()
    bench.checkpoints_s = [5.0]
    bench.metered.read_soa(ZONE)
    first = ["checkpoint"] if is_first else ["reserve", "checkpoint"]
    assert bench.said == [*first, "reserve", "checkpoint", "read_soa"]


def test_a_machine_that_is_always_late_gets_on_all_the_same() -> None:
    bench = Bench()
    bench.checkpoints_s = [5.0] * 100
    bench.metered.read_soa(ZONE)
    bench.metered.read_zone(ZONE)
    assert bench.said.count("checkpoint") == 6
    assert bench.said[-1] == "read_zone"


def test_a_claim_lost_while_waiting_ends_it_before_the_request_is_made() -> None:
    bench = Bench(50.0)
    bench.metered.read_soa(ZONE)

    def lose() -> None:
        raise ClaimLost

    bench.metered.renew = lose
    with pytest.raises(ClaimLost):
        bench.metered.read_zone(ZONE)
    assert "read_zone" not in bench.said


def test_a_rest_that_is_noticed_in_the_middle_of_a_method_ends_it_there() -> None:
    bench = Bench()
    visits = iter([None, Resting("enough", retry_after_s=5.0)])

    def look() -> None:
        found = next(visits)
        if found is not None:
            raise found

    bench.metered.checkpoint = look
    with pytest.raises(Resting):
        bench.metered.apply(PLAN)
    assert bench.said == ["look", "reserve"]
