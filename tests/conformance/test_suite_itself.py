"""The suite can fail: a sound backend in memory passes it, and each way to spoil it is caught by a case."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import ClassVar

import pytest
from pydantic import SecretStr

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
from dnsworker.records import RRset
from dnsworker.testing import BackendConformance, Lab, ServerUnderTest


class MemoryOptions(Options):
    password: SecretStr


class MemoryServer(ServerUnderTest):
    """Zones in a dict; `up` says whether it answers."""

    def __init__(self, kind: type[MemoryBackend]) -> None:
        self.kind = kind
        self.zones: dict[Name, ZoneContents] = {}
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

    capabilities: ClassVar[Capabilities] = Capabilities(
        max_batch=1000, fencing="server", reads_changes=True, hides_new_zones=True
    )
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

    def read_changes(self, zone: Name, since: object) -> ZoneDelta | None:
        if zone not in self._reach():
            raise ZoneMissing
        return None

    def create_zone(self, zone: ZoneContents) -> None:
        self._reach()[zone.name] = zone
        self._answer()

    def apply(self, plan: Plan) -> Receipt:
        zone = self._reach().get(plan.zone)
        if zone is None:
            raise ZoneMissing
        if zone.soa != plan.current_soa:
            raise ZoneChanged
        new = changed(zone, plan)
        for name, type in new.rrsets:
            if type == "CNAME" and sum(key[0] == name for key in new.rrsets) > 1:
                raise RecordRejected(rrset=(name, type))
        self.server.zones[plan.zone] = new
        self._answer()
        return Receipt(plan.desired_soa)

    def delete_zone(self, zone: Name) -> None:
        self._reach().pop(zone, None)
        self._answer()

    def check(self) -> Health:
        try:
            self._reach()
        except BackendError as exc:
            return Health(False, exc.message)
        return Health(True, "memory")


class TestMemory(BackendConformance):
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
    (_LosesTheTTL, S.test_a_ttl_changes_alone, ()),
    (_LowersText, S.test_text_is_kept_to_the_octet, ()),
    (_KeepsTheOldApexNS, S.test_the_apex_ns_are_exchanged, (["ns3.example.net."],)),
    (_MixesAliasAndAddress, S.test_an_alias_beside_other_data_is_never_done_silently, ()),
    (_MergesWhenCreatingAgain, S.test_creating_over_other_contents_leaves_exactly_the_new_ones, ()),
    (_SetsTheLastSerialAtOnce, S.test_each_part_of_a_plan_sets_its_own_serial, ()),
    (_TellsThePassword, S.test_no_secret_shows, ()),
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


def test_an_ability_that_is_missing_and_not_declared_fails(request: pytest.FixtureRequest) -> None:
    class Mute(MemoryServer):
        kill = ServerUnderTest.kill

    server = Mute(MemoryBackend)
    lab: Iterator[Lab] = BackendConformance.lab.__wrapped__(  # type: ignore[attr-defined]
        BackendConformance(), request, server, server.new_backend()
    )
    with pytest.raises(pytest.fail.Exception, match="kill"):
        next(lab)
