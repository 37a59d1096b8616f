"""Every fault on every kind of target that it can happen to, from the submission to what the server holds.

Each ends in the right error with words that tell the operator where to look, loses nothing, and is over when
its cause is gone.
"""

from __future__ import annotations

import itertools
import logging
import re
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from dev.servers import Bind, Nsd
from dnsworker.contents import ZoneContents
from dnsworker.names import Name
from dnsworker.pools import Pool
from dnsworker.records import SOA, RRset
from dnsworker.store import pools
from dnsworker.testing.lab import assert_same
from dnsworker.zonefile import parse_zone
from tests.certificates import self_signed
from tests.faults import benches
from tests.faults.benches import EARLY, RETRY_AFTER_S, WRONG_SECRET, Bench, Said
from tests.world import World, a_world

pytestmark = pytest.mark.filterwarnings(r"ignore:.*Will be removed in 2\.0:DeprecationWarning")

#: They last until somebody does something about them.
LASTING = (
    "wrong_key",
    "wrong_algorithm",
    "wrong_clock",
    "untrusted_certificate",
    "plain_for_tls",
    "tls_for_plain",
    "limited",
    "limited_with_time",
    "server_failure",
    "cut_answer",
)
FAULTS = (*LASTING, "not_stored", "lost_answer", "existing_zone", "removed_zone")
KINDS: dict[str, type[Bench]] = {
    "bind9": benches.Bind9Bench,
    "knot": benches.KnotBench,
    "nsd": benches.NsdBench,
    "octodns on bind": benches.OctoDNSBindBench,
    "octodns on powerdns": benches.OctoDNSPowerDNSBench,
    "powerdns": benches.PowerDNSBench,
    "rfc2136": benches.Rfc2136Bench,
    "route53": benches.Route53Bench,
    "zonefile": benches.ZonefileBench,
}
#: Where the fixture isn't named as the kind is.
SERVERS = {"bind9": "bind", "rfc2136": "knot"}
EMAIL = "hostmaster@example.net"
_numbers = itertools.count(1)


def cells(*faults: str) -> pytest.MarkDecorator:
    """Every kind with every fault that can happen to it."""
    found = [(kind, fault) for kind, bench in KINDS.items() for fault in faults if fault not in bench.without]
    return pytest.mark.parametrize(
        ("kind", "fault"), found, ids=[f"{kind}-{fault}" for kind, fault in found], indirect=["kind"]
    )


def test_every_fault_is_tried_on_every_kind_or_there_is_a_reason() -> None:
    for kind, bench in KINDS.items():
        assert set(bench.without) <= set(FAULTS), kind
        for fault in (*LASTING, "not_stored", "lost_answer"):
            assert (fault in bench.said) != (fault in bench.without), f"{kind}: {fault}"


# --- the servers: each started once, for all of its faults --------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of nobody that is trusted; with its key."""
    return self_signed(tmp_path_factory.mktemp("certificate") / "stranger.pem")


@pytest.fixture(scope="module")
def primary() -> Iterator[Bind]:
    with Bind(options="allow-transfer { any; };") as server:
        yield server


@pytest.fixture(scope="module")
def secondary(primary: Bind) -> Iterator[Nsd]:
    with Nsd(primary=(primary.address, primary.port)) as server:
        yield server


@pytest.fixture(scope="module")
def stranger() -> Iterator[Nsd]:
    """Never started: it has certificates that nobody knows."""
    server = Nsd()
    server._configure()
    yield server
    server.close()


@pytest.fixture
def kind(
    request: pytest.FixtureRequest, certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Bench]:
    """The bench of the kind that is named."""
    server: Callable[[str], Any] = request.getfixturevalue
    made: Bench
    if request.param == "zonefile":
        made = benches.ZonefileBench(tmp_path)
    elif request.param == "nsd":
        made = benches.NsdBench(
            server("secondary"), server("primary"), server("stranger"), certificate, monkeypatch
        )
    else:
        name = SERVERS.get(request.param) or request.param.rpartition(" ")[2]
        made = KINDS[request.param](server(name), certificate, monkeypatch)
    yield made
    made.close()


# --- what a test does ---------------------------------------------------------------------------------------


class Trial:
    """A world whose one pool has the bench's target."""

    def __init__(self, world: World, bench: Bench, log: pytest.LogCaptureFixture) -> None:
        self.world, self.bench, self._log = world, bench, log
        self.zones: list[Name] = []

    def name(self) -> Name:
        name = Name(f"f{next(_numbers)}.faults.example.")
        self.zones.append(name)
        return name

    def create(self, *, prepared: bool = True) -> tuple[Name, str]:
        """Submits a zone with the next name; nothing is delivered yet."""
        zone = self.name()
        if prepared:
            self.bench.prepare(zone)
        return zone, self.world.submit("create_zone", zone=zone, email=EMAIL)

    def put(self, zone: Name, value: str) -> str:
        return self.world.put(f"www.{zone}", value, zone=zone, ttl=300)

    def succeed(self, operation: str) -> None:
        outcome = self.world.end_of(operation)
        assert outcome.status.has_succeeded, f"{outcome.kind} {outcome.code}: {outcome.message}"

    def configure(self, **options: Any) -> None:
        """What `pool apply` does with an edited pools.yaml."""
        document = {
            "name": "default",
            "ns_records": [{"hostname": "ns1.example.net."}],
            "targets": [*self.bench.others(), self.bench.target(**options)],
        }
        with self.world.engine.begin() as connection:
            pools.apply(connection, [Pool.model_validate(document)])
        self.world.runtime.reload_pools()

    def noted(self, zone: Name) -> tuple[str, str]:
        """Code and words of the target's last failure with a zone."""
        row = self.world.row(
            "SELECT coalesce(last_code, ''), coalesce(delivery.last_error, '') FROM delivery "
            "JOIN target ON target.id = target_id JOIN zone ON zone.id = zone_id "
            f"WHERE target.name = 'target' AND zone.name = '{zone}'"
        )
        return tuple(row)

    def wait_for(self, zone: Name, said: Said) -> None:
        """Until the fault was noted as what it is."""
        self.world.until(lambda: _fits(self.noted(zone), said), f"{said}, but {self.noted(zone)}")

    def wait_for_reason(self, zone: Name, said: Said) -> None:
        """Until `zone show` says it, too."""
        self.world.until(
            lambda: bool(re.search(said.words, self.world.zone(zone)["reason"] or "")), f"{said} is not shown"
        )

    @property
    def log(self) -> str:
        return "\n".join(record.getMessage() for record in self._log.records)

    def assert_all_agree(self) -> None:
        """Database and target; and no secret was written anywhere on the way."""
        for zone in self.zones:
            parsed = parse_zone(self.world.runtime.ask("export_zone", {"zone": zone}), zone, 3600)
            assert parsed.soa is not None
            wanted = ZoneContents.of(zone, parsed.soa, parsed.rrsets)
            assert_same(self.bench.read(zone), wanted, self.bench.direct.capabilities)
        assert WRONG_SECRET not in self.log


def _fits(noted: tuple[str, str], said: Said) -> bool:
    return bool(re.fullmatch(said.code, noted[0]) and re.search(said.words, noted[1]))


@pytest.fixture
def trial(kind: Bench, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Iterator[Trial]:
    caplog.set_level(logging.INFO, "dnsworker")
    pool = {"targets": [*kind.others(), kind.target()]}
    with a_world(tmp_path, "target", pool=pool) as world:
        trial = Trial(world, kind, caplog)
        yield trial
        for zone in trial.zones:
            kind.remove_by_hand(zone)


# --- the matrix ---------------------------------------------------------------------------------------------


@cells(*LASTING)
def test_a_fault_is_named_and_all_arrives_when_it_is_gone(kind: Bench, fault: str, trial: Trial) -> None:
    zone, creation = trial.create()
    trial.succeed(creation)
    trial.succeed(trial.put(zone, "192.0.2.1"))
    said = kind.said[fault]
    with getattr(kind, fault)() as options:
        trial.configure(**options)
        change = trial.put(zone, "192.0.2.2")
        if fault not in kind.concerns_new_zones:
            trial.wait_for(zone, said)
            assert not trial.world.show(change).status.is_final
            trial.wait_for_reason(zone, said)
        other, creation = trial.create()
        if said.code != "RateLimited":  # all of the target's deliveries rest together
            trial.wait_for(other, said)
    trial.configure()
    trial.succeed(change)
    trial.succeed(creation)
    trial.assert_all_agree()


@cells("lost_answer")
def test_a_change_whose_answer_is_lost_is_found_done(kind: Bench, fault: str, trial: Trial) -> None:
    zone, creation = trial.create()
    trial.succeed(creation)
    said = kind.said[fault]
    with getattr(kind, fault)() as options:
        trial.configure(**options)
        trial.succeed(trial.put(zone, "192.0.2.2"))
        assert re.search(f"{said.code}: .*{said.words}", trial.log), trial.log
        other, creation = trial.create()
        trial.world.until(lambda: trial.log.count(said.code) > 1, f"no lost answer was noted of {other}")
    trial.configure()
    trial.succeed(creation)
    trial.assert_all_agree()


@cells("not_stored")
def test_a_change_that_is_taken_and_not_stored_is_no_success(kind: Bench, fault: str, trial: Trial) -> None:
    """Where the serial is ours it says that nothing was stored at all; else the records count as refused."""
    zone, creation = trial.create()
    trial.succeed(creation)
    said = kind.said[fault]
    with getattr(kind, fault)() as options:
        trial.configure(**options)
        change = trial.put(zone, "192.0.2.2")
        if kind.direct.capabilities.sets_serial:
            outcome = trial.world.end_of(change)
            assert outcome.code == said.code
            assert re.search(said.words, outcome.message or ""), outcome.message
        else:
            trial.wait_for(zone, said)
        if not kind.direct.capabilities.pull:
            other, creation = trial.create()
            trial.world.deliver()
    trial.configure()
    if kind.direct.capabilities.sets_serial:
        change = trial.put(zone, "192.0.2.2")
        if not trial.world.end_of(creation).status.has_succeeded:
            creation = trial.world.submit("create_zone", zone=other, email=EMAIL)
    trial.succeed(change)
    trial.succeed(creation)
    trial.assert_all_agree()


@cells("existing_zone")
def test_a_zone_of_somebody_elses_is_left_alone_until_it_is_meant(
    kind: Bench, fault: str, trial: Trial
) -> None:
    zone = trial.name()
    soa = SOA(Name("ns.elsewhere.example."), Name("root.elsewhere.example."), EARLY + 1)
    ns = RRset(zone, "NS", 3600, ["ns.elsewhere.example."])
    theirs = ZoneContents.of(zone, soa, [ns, RRset(f"theirs.{zone}", "A", 300, ["198.51.100.1"])])
    kind.make_by_hand(theirs)
    found = kind.read(zone)
    outcome = trial.world.do("create_zone", zone=zone, email=EMAIL)
    assert outcome.code == "ZoneExists", outcome
    assert re.search(rf"has a zone {zone} already .*force=True to take it over", outcome.message or "")
    assert kind.read(zone) == found
    trial.succeed(trial.world.submit("create_zone", zone=zone, email=EMAIL, force=True))
    trial.assert_all_agree()


@cells("removed_zone")
def test_a_zone_removed_behind_our_back_is_made_again_or_asked_for(
    kind: Bench, fault: str, trial: Trial
) -> None:
    zone, creation = trial.create()
    trial.succeed(creation)
    trial.succeed(trial.put(zone, "192.0.2.1"))
    kind.remove_by_hand(zone)
    change = trial.world.put(f"new.{zone}", "192.0.2.2", zone=zone)
    if not kind.direct.capabilities.creates_zones:
        trial.wait_for(zone, Said("ZoneMissing", f"can't add zones: add {zone} there"))
        kind.prepare(zone)
    trial.succeed(change)
    assert f"zone {zone} is gone from target" in trial.log
    trial.assert_all_agree()


@cells("limited_with_time")
def test_a_target_that_says_when_is_not_asked_before(kind: Bench, fault: str, trial: Trial) -> None:
    zone, creation = trial.create()
    trial.succeed(creation)
    with getattr(kind, fault)() as options:
        trial.configure(**options)
        change = trial.put(zone, "192.0.2.2")
        trial.wait_for(zone, kind.said[fault])
        due, tried = trial.world.row(
            "SELECT due_at, last_attempt_at FROM delivery WHERE last_code = 'RateLimited'"
        )
    assert (datetime.fromisoformat(due) - datetime.fromisoformat(tried)).total_seconds() >= RETRY_AFTER_S
    trial.succeed(change)
