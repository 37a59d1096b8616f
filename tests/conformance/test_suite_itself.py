"""The suite can fail: a sound backend in memory passes it, and each way to spoil it is caught by a case."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import SecretStr

from dnsworker import serials
from dnsworker.backend import Backend, Capabilities, Health, Options, Receipt, ZoneDelta
from dnsworker.contents import ZoneContents
from dnsworker.errors import (
    AuthenticationFailed,
    BackendError,
    OutcomeUnknown,
    RecordRejected,
    Unreachable,
    ZoneChanged,
    ZoneMissing,
)
from dnsworker.names import Name
from dnsworker.plan import Plan
from dnsworker.records import SOA, RRset
from dnsworker.testing import BackendConformance, Lab, ServerUnderTest
from dnsworker.testing.server import ABILITIES


class MemoryOptions(Options):
    password: SecretStr


class Zones(dict[Name, ZoneContents]):
    """What is served; remembers every version for `read_changes`."""

    def __init__(self) -> None:
        super().__init__()
        self.versions: dict[tuple[Name, SOA], ZoneContents] = {}

    def __setitem__(self, name: Name, zone: ZoneContents) -> None:
        super().__setitem__(name, zone)
        self.versions[name, zone.soa] = zone


class MemoryServer(ServerUnderTest):
    """Zones in a dict; `up` says whether it answers."""

    def __init__(self, kind: type[MemoryBackend]) -> None:
        self.kind = kind
        self.zones = Zones()
        self.up = True

    def new_backend(self, password: str = "right", loses: bool = False) -> Backend:
        backend = self.kind("test", MemoryOptions(password=SecretStr(password)))
        backend.server, backend.loses = self, loses
        return backend

    def start(self) -> None:
        self.up = True

    def stop(self) -> None:
        self.up = False

    def kill(self) -> None:
        self.up = False

    def wipe(self) -> None:
        self.zones.clear()

    def edit_by_hand(self, plan: Plan) -> None:
        self.zones[plan.zone] = changed(self.zones[plan.zone], plan)

    def wrong_credentials(self) -> Backend:
        return self.new_backend(self.wrong_secret)

    def lossy(self) -> Backend:
        return self.new_backend(loses=True)


def changed(zone: ZoneContents, plan: Plan) -> ZoneContents:
    rrsets = dict(zone.rrsets)
    for change in plan.changes:
        rrsets.pop(change.key, None)
        if change.after is not None:
            rrsets[change.key] = change.after
    return replace(zone, soa=plan.desired_soa, rrsets=rrsets)


class MemoryBackend(Backend):
    """Sound; subclasses below spoil one thing each."""

    capabilities = Capabilities(
        max_batch=1000, fencing="server", fences_rrsets=True, reads_changes=True, hides_new_zones=True,
        notifies=True,
    )  # fmt: skip
    options_model: ClassVar[type[Options]] = MemoryOptions
    server: MemoryServer
    loses: bool

    def __init__(self, target: str, options: Options, *, timeout_s: float = 5.0) -> None:
        super().__init__(target, options, timeout_s=timeout_s)
        assert isinstance(options, MemoryOptions)
        self.password = options.password

    def _reach(self) -> dict[Name, ZoneContents]:
        if not self.server.up:
            raise Unreachable
        if self.password.get_secret_value() != "right":
            raise AuthenticationFailed
        return self.server.zones

    def _answer(self) -> None:
        if self.loses:
            raise OutcomeUnknown

    def read_zone(self, zone: Name) -> ZoneContents | None:
        return self._reach().get(zone)

    def notify(self, zone: Name) -> None:
        if zone not in self._reach():
            raise ZoneMissing

    def read_changes(self, zone: Name, since: SOA) -> ZoneDelta | None:
        current = self._reach().get(zone)
        if current is None:
            raise ZoneMissing
        before = self.server.zones.versions.get((zone, since))
        if before is None:
            return None
        removed, added = {}, {}
        for change in before.changes_to(current):
            gone, new = _pairs(change.before), _pairs(change.after)
            removed[change.key], added[change.key] = gone - new, new - gone
        return ZoneDelta(
            current.soa, {k: v for k, v in removed.items() if v}, {k: v for k, v in added.items() if v}
        )

    def create_zone(self, zone: ZoneContents) -> None:
        self._reach()[zone.name] = zone
        self._answer()

    def apply(self, plan: Plan) -> Receipt:
        zone = self._reach().get(plan.zone)
        if zone is None:
            raise ZoneMissing
        if plan.fence == "soa" and zone.soa != plan.current_soa:
            raise ZoneChanged
        if plan.fence == "rrsets":
            self._require(plan, zone)
            if not serials.is_ahead(plan.desired_soa.serial, zone.soa.serial):
                steps = 1 if plan.changes else 0
                plan = replace(plan, desired_soa=zone.soa.with_serial(zone.soa.serial + steps))
        new = changed(zone, plan)
        for name, type in new.rrsets:
            if type == "CNAME" and sum(key[0] == name for key in new.rrsets) > 1:
                raise RecordRejected(rrset=(name, type))
        self.server.zones[plan.zone] = new
        self._answer()
        return Receipt(plan.desired_soa)

    def _require(self, plan: Plan, zone: ZoneContents) -> None:
        if any(zone.rrsets.get(change.key) != change.before for change in plan.changes):
            raise ZoneChanged

    def delete_zone(self, zone: Name) -> None:
        self._reach().pop(zone, None)
        self._answer()

    def check(self) -> Health:
        try:
            self._reach()
        except BackendError as exc:
            return Health(False, exc.message)
        return Health(True, "memory")


def _pairs(rrset: RRset | None) -> frozenset[tuple[int, str]]:
    return frozenset((rrset.ttl, text) for text in rrset.data) if rrset else frozenset()


class TestMemory(BackendConformance):
    backend_class = MemoryBackend
    without = frozenset({"query"})  # it speaks no DNS
    max_values = None

    @pytest.fixture
    def server(self) -> MemoryServer:
        return MemoryServer(MemoryBackend)


class _TakesUnauthorizedForAbsent(MemoryBackend):
    def read_zone(self, zone: Name) -> ZoneContents | None:
        try:
            return super().read_zone(zone)
        except AuthenticationFailed:
            return None


class _TakesUnreachableForAbsent(MemoryBackend):
    def read_zone(self, zone: Name) -> ZoneContents | None:
        return super().read_zone(zone) if self.server.up else None


class _SaysDoneOfWhatItDoesntKnow(MemoryBackend):
    def _answer(self) -> None:
        """Nothing is ever unknown."""


class _HasNoFence(MemoryBackend):
    def apply(self, plan: Plan) -> Receipt:
        zone = self._reach().get(plan.zone)
        if zone is None:
            raise ZoneMissing
        self.server.zones[plan.zone] = changed(zone, plan)
        self._answer()
        return Receipt(plan.desired_soa)


class _FencesBySerialAlone(MemoryBackend):
    def apply(self, plan: Plan) -> Receipt:
        zone = self._reach().get(plan.zone)
        if zone is not None and zone.soa.serial == plan.current_soa.serial:
            plan = replace(plan, current_soa=zone.soa)
        return super().apply(plan)


class _LooksAtNoRRset(MemoryBackend):
    def _require(self, plan: Plan, zone: ZoneContents) -> None:
        """Whatever is there."""


class _LooksAtNoRRsetThatIsNew(MemoryBackend):
    def _require(self, plan: Plan, zone: ZoneContents) -> None:
        expected = [change for change in plan.changes if change.before is not None]
        super()._require(replace(plan, changes=tuple(expected)), zone)


class _FencesBySOAAlone(MemoryBackend):
    def apply(self, plan: Plan) -> Receipt:
        return super().apply(replace(plan, fence="soa"))


class _TakesAnySerial(MemoryBackend):
    def apply(self, plan: Plan) -> Receipt:
        receipt = super().apply(plan)
        self.server.zones[plan.zone] = replace(self.server.zones[plan.zone], soa=plan.desired_soa)
        return receipt


class _LosesTheTTL(MemoryBackend):
    def read_zone(self, zone: Name) -> ZoneContents | None:
        found = super().read_zone(zone)
        return found and replace(
            found,
            rrsets={k: RRset.trusted(r.name, r.type, 300, r.data) for k, r in found.rrsets.items()},
        )


class _LowersText(MemoryBackend):
    def read_zone(self, zone: Name) -> ZoneContents | None:
        found = super().read_zone(zone)
        return found and replace(
            found,
            rrsets={
                k: RRset.trusted(r.name, r.type, r.ttl, tuple(sorted({d.lower() for d in r.data})))
                for k, r in found.rrsets.items()
            },
        )


class _KeepsTheOldApexNS(MemoryBackend):
    """As BIND does with a delete of the whole RRset."""

    def apply(self, plan: Plan) -> Receipt:
        before = self._reach().get(plan.zone)
        receipt = super().apply(plan)
        key = (plan.zone, "NS")
        if before is not None and any(change.key == key for change in plan.changes):
            now = self.server.zones[plan.zone]
            both = RRset(plan.zone, "NS", now.rrsets[key].ttl, before.rrsets[key].data + now.rrsets[key].data)
            self.server.zones[plan.zone] = replace(now, rrsets={**now.rrsets, key: both})
        return receipt


class _MixesAliasAndAddress(MemoryBackend):
    def apply(self, plan: Plan) -> Receipt:
        self.server.zones[plan.zone] = changed(self._reach()[plan.zone], plan)
        return Receipt(plan.desired_soa)


class _MergesWhenCreatingAgain(MemoryBackend):
    def create_zone(self, zone: ZoneContents) -> None:
        old = self._reach().get(zone.name)
        super().create_zone(replace(zone, rrsets={**(old.rrsets if old else {}), **zone.rrsets}))


class _SetsTheLastSerialAtOnce(MemoryBackend):
    """Forgets that a part has a serial of its own."""

    def apply(self, plan: Plan) -> Receipt:
        receipt = super().apply(plan)
        zone = self.server.zones[plan.zone]
        self.server.zones[plan.zone] = replace(zone, soa=zone.soa.with_serial(zone.soa.serial + 1))
        return receipt


class _ForgetsWithEachRestart(MemoryBackend):
    def read_zone(self, zone: Name) -> ZoneContents | None:
        found = super().read_zone(zone)
        if getattr(self.server, "was_down", False):
            return found and replace(found, rrsets={})
        return found


class _TellsThePassword(MemoryBackend):
    def check(self) -> Health:
        return replace(super().check(), message=self.password.get_secret_value())


class _ReadsAliasesThrough(MemoryBackend):
    def read_rrsets(self, zone: Name, keys: object) -> dict[tuple[Name, str], RRset]:
        found = dict(super().read_rrsets(zone, keys))  # type: ignore[arg-type]
        contents = self.server.zones[zone].rrsets
        for name, type in keys:  # type: ignore[attr-defined]
            if (name, type) not in found and (name, "CNAME") in contents:
                found[name, type] = contents[name, "CNAME"]
        return found


class _CantTellWhatChanged(MemoryBackend):
    def read_changes(self, zone: Name, since: SOA) -> ZoneDelta | None:
        super().read_changes(zone, since)
        return None


class _TellsChangesOneByOne(MemoryBackend):
    """Not the net difference: what came and went is told, too."""

    def read_changes(self, zone: Name, since: SOA) -> ZoneDelta | None:
        delta = super().read_changes(zone, since)
        passing = (Name(f"passing.{zone}"), "A")
        return delta and replace(delta, added={**delta.added, passing: frozenset({(300, "192.0.2.9")})})


class _NotifiesOfWhatItHasnt(MemoryBackend):
    def notify(self, zone: Name) -> None:
        self._reach()


S = BackendConformance
SPOILED: list[tuple[type[MemoryBackend], Callable[..., None], tuple[object, ...]]] = [
    (_TakesUnauthorizedForAbsent, S.test_wrong_credentials_are_never_taken_for_an_absent_zone, ()),
    (_TakesUnreachableForAbsent, S.test_a_server_that_is_gone_is_unreachable_and_comes_back, ()),
    (_SaysDoneOfWhatItDoesntKnow, S.test_a_lost_answer_to_a_plan_converges, ()),
    (_SaysDoneOfWhatItDoesntKnow, S.test_a_lost_answer_to_a_creation_converges, ()),
    (_SaysDoneOfWhatItDoesntKnow, S.test_a_lost_answer_to_a_deletion_converges, ()),
    (_HasNoFence, S.test_a_plan_from_another_soa_is_fenced, ("serial",)),
    (_HasNoFence, S.test_an_old_plan_doesnt_take_the_serial_down, ()),
    (_HasNoFence, S.test_a_hand_edit_to_the_serial_that_we_want_is_not_ours, ()),
    (_FencesBySerialAlone, S.test_a_plan_from_another_soa_is_fenced, ("refresh",)),
    (_LooksAtNoRRset, S.test_a_plan_for_what_others_have_changed_is_fenced, ("www",)),
    (_LooksAtNoRRset, S.test_a_plan_for_what_others_have_removed_is_fenced, ()),
    (_LooksAtNoRRsetThatIsNew, S.test_a_plan_for_what_others_have_changed_is_fenced, ("new",)),
    (_FencesBySOAAlone, S.test_a_plan_goes_through_beside_what_others_did, (1,)),
    (_TakesAnySerial, S.test_a_plan_goes_through_beside_what_others_did, (20,)),
    (_TakesAnySerial, S.test_an_old_plan_with_this_fence_doesnt_take_the_serial_down, ()),
    (_SaysDoneOfWhatItDoesntKnow, S.test_a_lost_answer_to_a_plan_beside_others_converges, ()),
    (_NotifiesOfWhatItHasnt, S.test_an_absent_zone_reads_as_none_everywhere, ()),
    (_LosesTheTTL, S.test_a_ttl_changes_alone, ()),
    (_LowersText, S.test_text_is_kept_to_the_octet, ()),
    (_KeepsTheOldApexNS, S.test_the_apex_ns_are_exchanged, (["ns3.example.net."],)),
    (_MixesAliasAndAddress, S.test_an_alias_beside_other_data_is_never_done_silently, ()),
    (_MergesWhenCreatingAgain, S.test_creating_over_other_contents_leaves_exactly_the_new_ones, ()),
    (_SetsTheLastSerialAtOnce, S.test_each_part_of_a_plan_sets_its_own_serial, ()),
    (_TellsThePassword, S.test_no_secret_shows, ()),
    (_CantTellWhatChanged, S.test_read_changes_tells_the_net_difference, ()),
    (_TellsChangesOneByOne, S.test_read_changes_tells_the_net_difference, ()),
    (_ReadsAliasesThrough, S.test_single_rrsets_are_read_as_stored, ()),
]


@pytest.mark.parametrize(("kind", "case", "arguments"), SPOILED)
def test_a_spoiled_backend_is_caught(
    kind: type[MemoryBackend], case: Callable[..., None], arguments: tuple[object, ...]
) -> None:
    server = MemoryServer(kind)
    lab = Lab(server, server.new_backend(), "conformance.test.")
    with pytest.raises((AssertionError, BackendError, pytest.fail.Exception)):
        case(BackendConformance(), lab, *arguments)


def test_what_a_restart_loses_is_seen_at_the_end_of_a_case() -> None:
    server = MemoryServer(_ForgetsWithEachRestart)
    lab = Lab(server, server.new_backend(), "conformance.test.")
    lab.create(lab.zone())
    server.was_down = True  # type: ignore[attr-defined]
    with pytest.raises(AssertionError):
        lab.assert_all_hold()


def _bench(
    suite: type[BackendConformance], request: pytest.FixtureRequest, server: MemoryServer
) -> Iterator[Lab]:
    lab: Iterator[Lab] = BackendConformance.lab.__wrapped__(  # type: ignore[attr-defined]
        suite(), request, server, server.new_backend()
    )
    return lab


def test_an_ability_that_is_missing_and_not_declared_fails(request: pytest.FixtureRequest) -> None:
    class Mute(MemoryServer):
        kill = ServerUnderTest.kill

    with pytest.raises(pytest.fail.Exception, match="kill"):
        next(_bench(TestMemory, request, Mute(MemoryBackend)))


def test_capabilities_other_than_the_declared_ones_fail(request: pytest.FixtureRequest) -> None:
    class Tested(BackendConformance):
        backend_class = _Unfenced

    class Undeclared(BackendConformance):
        pass

    for suite in (Tested, Undeclared):
        with pytest.raises(pytest.fail.Exception, match=r"backend_class .* fencing='server'"):
            next(_bench(suite, request, MemoryServer(MemoryBackend)))


class _Unfenced(MemoryBackend):
    capabilities = replace(MemoryBackend.capabilities, fencing="none")


#: What one declaration takes out, written down once more by hand.
RULED_OUT_WITHOUT: dict[str, set[str]] = {
    "edit_by_hand": {
        "test_a_hand_edit_is_noticed_and_repaired",
        "test_a_hand_edit_to_the_serial_that_we_want_is_not_ours",
        "test_a_plan_for_what_others_have_changed_is_fenced",
        "test_a_plan_for_what_others_have_removed_is_fenced",
        "test_a_plan_goes_through_beside_what_others_did",
    },
    "kill": {
        "test_a_plan_broken_off_in_the_middle_is_taken_up_again",
        "test_a_server_killed_while_it_writes_has_done_whole_parts",
    },
    "lossy": {
        "test_a_lost_answer_to_a_creation_converges",
        "test_a_lost_answer_to_a_deletion_converges",
        "test_a_lost_answer_to_a_plan_beside_others_converges",
        "test_a_lost_answer_to_a_plan_converges",
    },
    "query": {
        "test_a_new_zone_is_not_seen_before_it_is_complete",
        "test_an_empty_non_terminal_comes_and_goes",
    },
    "start": {
        "test_a_plan_broken_off_in_the_middle_is_taken_up_again",
        "test_a_server_killed_while_it_writes_has_done_whole_parts",
        "test_a_server_that_is_gone_is_unreachable_and_comes_back",
    },
    "stop": {"test_a_server_that_is_gone_is_unreachable_and_comes_back"},
    "wipe": {"test_a_wiped_server_is_filled_again"},
    "wrong_credentials": {
        "test_no_secret_shows",
        "test_wrong_credentials_are_never_taken_for_an_absent_zone",
    },
    # A case by its own name.
    "test_a_ttl_changes_alone": {"test_a_ttl_changes_alone"},
}
RULED_OUT_BY_CAPABILITY: list[tuple[dict[str, object], set[str]]] = [
    ({}, set()),
    (
        {"fencing": "none"},
        {"test_a_plan_from_another_soa_is_fenced", "test_an_old_plan_doesnt_take_the_serial_down"},
    ),
    (
        {"fences_rrsets": False},
        {
            "test_a_lost_answer_to_a_plan_beside_others_converges",
            "test_a_plan_for_what_others_have_changed_is_fenced",
            "test_a_plan_for_what_others_have_removed_is_fenced",
            "test_a_plan_goes_through_beside_what_others_did",
            "test_an_old_plan_with_this_fence_doesnt_take_the_serial_down",
            "test_the_messages_of_a_plan_hold_what_they_require",
        },
    ),
    ({"hides_new_zones": False}, {"test_a_new_zone_is_not_seen_before_it_is_complete"}),
    ({"reads_changes": False}, {"test_read_changes_tells_the_net_difference"}),
    ({"sets_serial": True}, {"test_serials_jump_and_wrap"}),
    ({"apex_ns": False}, {"test_the_apex_ns_are_exchanged"}),
]
CASES = {name for name in dir(BackendConformance) if name.startswith("test_")}


def _suite(without: frozenset[str] = frozenset(), **capabilities: object) -> type[BackendConformance]:
    kind = type(
        "Kind", (MemoryBackend,), {"capabilities": replace(MemoryBackend.capabilities, **capabilities)}
    )
    return type("Suite", (BackendConformance,), {"backend_class": kind, "without": without})


def _concerned(suite: type[BackendConformance]) -> set[str]:
    return {name for name in CASES if getattr(suite, name) is not None}


def test_every_ability_has_its_rule_here() -> None:
    assert set(ABILITIES) == {name for name in RULED_OUT_WITHOUT if not name.startswith("test_")}


@pytest.mark.parametrize(("ability", "ruled_out"), RULED_OUT_WITHOUT.items(), ids=RULED_OUT_WITHOUT)
def test_what_a_server_cant_do_takes_out_the_cases_that_need_it(ability: str, ruled_out: set[str]) -> None:
    assert CASES - _concerned(_suite(frozenset({ability}))) == ruled_out


@pytest.mark.parametrize(
    ("capabilities", "ruled_out"),
    RULED_OUT_BY_CAPABILITY,
    ids=[str(each) for each, _ in RULED_OUT_BY_CAPABILITY],
)
def test_a_capability_that_is_not_declared_takes_out_its_cases(
    capabilities: dict[str, object], ruled_out: set[str]
) -> None:
    assert CASES - _concerned(_suite(**capabilities)) == ruled_out


def test_a_subclass_decides_anew() -> None:
    lesser = _suite(frozenset({"wipe"}), fencing="none")
    full = type("Full", (lesser,), {"backend_class": MemoryBackend, "without": frozenset()})
    assert _concerned(full) == CASES


def test_a_word_in_without_that_means_nothing_is_refused() -> None:
    with pytest.raises(TypeError, match="wype"):
        _suite(frozenset({"wype"}))


def test_pytest_collects_the_cases_that_concern_a_class_and_no_other(tmp_path: Path) -> None:
    file = tmp_path / "test_gated.py"
    file.write_text(
        "from tests.conformance.test_suite_itself import _suite\n"
        "TestGated = _suite(frozenset({'query', 'test_a_ttl_changes_alone'}), fencing='none')\n"
    )
    root = Path(__file__).parents[2]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-c", root / "pyproject.toml", file],
        cwd=root, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    collected = {line.split("::")[-1].split("[")[0] for line in run.stdout.splitlines() if "::" in line}
    left_out = RULED_OUT_WITHOUT["query"] | RULED_OUT_WITHOUT["test_a_ttl_changes_alone"]
    assert collected == CASES - left_out - RULED_OUT_BY_CAPABILITY[1][1]
