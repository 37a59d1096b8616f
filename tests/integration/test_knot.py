"""The `knot` backend where the shipped suite doesn't go: transactions left over, large plans, its words."""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import dns.message
import dns.query
import dns.rcode
import pytest

from backends.knot import BACKEND, transaction
from backends.knot.control import ControlSocket
from dev.servers import Knot
from dev.socketproxy import SocketProxy
from dnsworker.backend import Backend
from dnsworker.contents import ZoneContents
from dnsworker.errors import (
    Busy,
    ClaimLost,
    OutcomeUnknown,
    RecordRejected,
    ServerFailure,
    Unreachable,
    Unsupported,
    ZoneChanged,
)
from dnsworker.names import Name
from dnsworker.plan import Plan, split
from dnsworker.records import SOA, RRset
from dnsworker.testing.lab import edited, many, whole_plan

#: More than one update holds.
LARGE = 3000

_numbers = itertools.count(1)


class Stop(ClaimLost):
    """Raised at a checkpoint, in place of a worker's end."""


@pytest.fixture(scope="module")
def knotd() -> Iterator[Knot]:
    """Not the one that others share: it is killed."""
    with Knot() as server:
        yield server


@pytest.fixture
def make_backend(knotd: Knot) -> Iterator[Callable[..., Backend]]:
    knotd.start()
    made: list[Backend] = []

    def make(*, timeout_s: float = 5.0, **options: Any) -> Backend:
        model = BACKEND.options_model.model_validate({**knotd.target_options(), **options})
        made.append(BACKEND("ns1", model, timeout_s=timeout_s))
        return made[-1]

    yield make
    for backend in made:
        backend.close()


@pytest.fixture
def backend(make_backend: Callable[..., Backend]) -> Backend:
    return make_backend()


@pytest.fixture
def zone() -> ZoneContents:
    return contents(f"z{next(_numbers)}.example.")


def contents(name: str, *more: RRset, serial: int = 2026112301) -> ZoneContents:
    apex = Name(name)
    soa = SOA(Name("ns1.example.net."), Name("hostmaster.example.net."), serial)
    rrsets = [
        RRset(apex, "NS", 3600, ["ns1.example.net.", "ns2.example.net."]),
        RRset(f"www.{apex}", "A", 300, ["192.0.2.1", "192.0.2.2"]),
        *more,
    ]
    return ZoneContents.of(apex, soa, rrsets)


def large(zone: ZoneContents, *more: RRset) -> Plan:
    return whole_plan(zone, edited(zone, *many(zone.name, LARGE), *more))


def ask(server: Knot, name: str, kind: str = "SOA") -> dns.message.Message:
    return dns.query.tcp(dns.message.make_query(name, kind), server.address, port=server.port, timeout=5)


def stop_at(number: int) -> Callable[[], None]:
    """A checkpoint that raises at its `number`th call."""
    calls = itertools.count(1)

    def checkpoint() -> None:
        if next(calls) == number:
            raise Stop

    return checkpoint


def control(server: Knot) -> ControlSocket:
    return ControlSocket(str(server.control_socket), timeout_s=5)


def leave_open(server: Knot, *commands: dict[str, str]) -> None:
    """What a process leaves behind that is killed in the middle."""
    with control(server).session() as session:
        for command in commands:
            session.run(**command)  # type: ignore[arg-type]


# Zones


def test_a_creation_broken_off_anywhere_is_not_there_and_is_finished_by_the_next(
    knotd: Knot, make_backend: Callable[..., Backend]
) -> None:
    broken = 0
    for number in itertools.count(1):
        zone = contents(f"z{next(_numbers)}.example.")
        first, second = make_backend(), make_backend()
        first.checkpoint = first.renew = stop_at(number)
        try:
            first.create_zone(zone)
        except Stop:
            broken += 1
            answered = ask(knotd, zone.name).rcode() == dns.rcode.NOERROR
            assert second.read_zone(zone.name) == (zone if answered else None)
            assert second.read_soa(zone.name) == (zone.soa if answered else None)
            knotd.kill()
            knotd.start()
        second.create_zone(zone)
        assert second.read_zone(zone.name) == zone
        if broken < number:
            break
    assert broken >= 3


def test_what_knot_kept_of_an_earlier_zone_is_never_served_again(
    knotd: Knot, backend: Backend, zone: ZoneContents
) -> None:
    backend.create_zone(contents(zone.name, RRset(f"old.{zone.name}", "A", 60, ["192.0.2.66"]), serial=9))
    for command in (["conf-begin"], ["conf-unset", f"zone[{zone.name}]"], ["conf-commit"]):
        knotd.knotc(*command)  # an operator's; the journal stays
    seen: list[str] = []

    def look() -> None:
        answer = ask(knotd, f"old.{zone.name}", "A")
        seen.append(dns.rcode.to_text(answer.rcode()))
        assert not answer.answer

    backend.checkpoint = backend.renew = look
    backend.create_zone(zone)
    look()
    assert "SERVFAIL" in seen, "it was looked at while it was empty"
    assert backend.read_zone(zone.name) == zone


def test_a_zone_that_knot_could_not_load_is_an_error_and_not_absent(
    knotd: Knot, backend: Backend, zone: ZoneContents
) -> None:
    for command in (["conf-begin"], ["conf-set", f"zone[{zone.name}]"], ["conf-commit"]):
        knotd.knotc(*command)
    for read in (backend.read_zone, backend.read_soa):
        with pytest.raises(ServerFailure, match="see its log"):
            read(zone.name)
    with pytest.raises(ServerFailure, match="see its log"):
        backend.create_zone(zone)
    assert "serial: -" in knotd.knotc("zone-status", zone.name)


def test_a_secondary_of_the_operators_is_left_alone(
    knotd: Knot, backend: Backend, zone: ZoneContents
) -> None:
    for command in (
        ["conf-begin"],
        ["conf-set", "remote[elsewhere]"],
        ["conf-set", "remote[elsewhere].address", "127.0.0.1@9"],
        ["conf-set", f"zone[{zone.name}]"],
        ["conf-set", f"zone[{zone.name}].master", "elsewhere"],
        ["conf-commit"],
    ):
        knotd.knotc(*command)
    with pytest.raises(Unsupported, match="as a secondary"):
        backend.create_zone(zone)
    assert "role: slave" in knotd.knotc("zone-status", zone.name)


def test_deleting_a_zone_leaves_nothing_of_it(knotd: Knot, backend: Backend, zone: ZoneContents) -> None:
    backend.create_zone(zone)
    backend.delete_zone(zone.name)
    assert ask(knotd, zone.name).rcode() == dns.rcode.REFUSED
    for command in (["conf-begin"], ["conf-set", f"zone[{zone.name}]"], ["conf-commit"]):
        knotd.knotc(*command)
    assert "serial: -" in knotd.knotc("zone-status", zone.name)


# Large plans


def test_a_plan_that_no_update_holds_is_one_transaction_and_nobody_sees_a_part(
    make_backend: Callable[..., Backend], zone: ZoneContents
) -> None:
    backend, reader = make_backend(), make_backend()
    backend.create_zone(zone)
    plan = large(zone)
    seen = []
    backend.checkpoint = backend.renew = lambda: seen.append(reader.read_zone(zone.name))
    (part,) = split(plan, backend.capabilities)
    assert backend.apply(part).soa == plan.desired_soa
    assert seen == [zone] * len(seen)
    assert len(seen) >= 2
    now = reader.read_zone(zone.name)
    assert now is not None
    assert (now.soa, len(now.rrsets)) == (plan.desired_soa, len(zone.rrsets) + LARGE)


def test_a_large_plan_from_another_soa_is_refused(backend: Backend, zone: ZoneContents) -> None:
    backend.create_zone(zone)
    plan = large(zone)
    moved = edited(zone)
    backend.apply(whole_plan(zone, moved))
    with pytest.raises(ZoneChanged):
        backend.apply(plan)
    assert backend.read_zone(zone.name) == moved
    backend.apply(whole_plan(moved, edited(moved)))  # and no transaction is in the way


def test_a_record_that_knot_refuses_is_named_and_takes_nothing_else_with_it(
    backend: Backend, zone: ZoneContents
) -> None:
    backend.create_zone(zone)
    wrong = RRset.trusted(Name("www.elsewhere.example."), "A", 60, ("192.0.2.1",))
    with pytest.raises(RecordRejected) as caught:
        backend.apply(large(zone, wrong))
    assert caught.value.rrset == wrong.key
    alias = RRset(f"www.{zone.name}", "CNAME", 60, ["elsewhere.example."])
    plan = large(zone, alias)
    with pytest.raises(RecordRejected, match="semantic check"):
        backend.apply(plan)
    assert backend.read_zone(zone.name) == zone
    backend.apply(whole_plan(zone, edited(zone)))


def test_a_large_plan_from_other_contents_at_the_same_soa_is_no_rejection(
    backend: Backend, zone: ZoneContents
) -> None:
    backend.create_zone(zone)
    missing = RRset(f"missing.{zone.name}", "A", 60, ["192.0.2.1"])
    with_missing = replace(zone, rrsets={**zone.rrsets, missing.key: missing})
    without_www = edited(zone, remove=[(Name(f"www.{zone.name}"), "A")], soa=zone.soa)
    for believed in (with_missing, without_www):
        with pytest.raises(ZoneChanged, match="not as the change expects"):
            backend.apply(whole_plan(believed, edited(zone, *many(zone.name, LARGE))))
    assert backend.read_zone(zone.name) == zone


def test_a_transaction_that_a_change_of_the_configuration_ended_is_begun_again(
    knotd: Knot, backend: Backend, zone: ZoneContents
) -> None:
    backend.create_zone(zone)
    plan = large(zone)
    with control(knotd).session() as session:

        def abort() -> None:
            session.run("zone-abort", zone=zone.name)

        with pytest.raises(Busy, match="ended our transaction"):
            transaction.apply(session, plan, abort)
    backend.apply(plan)
    assert backend.read_soa(zone.name) == plan.desired_soa


def test_a_name_below_a_dname_is_refused_by_name(backend: Backend, zone: ZoneContents) -> None:
    dname = RRset(f"tree.{zone.name}", "DNAME", 60, ["elsewhere.example."])
    zone = replace(zone, rrsets={**zone.rrsets, dname.key: dname})
    backend.create_zone(zone)
    below = RRset(f"below.tree.{zone.name}", "A", 60, ["192.0.2.1"])
    with pytest.raises(RecordRejected, match="below a DNAME") as caught:
        backend.apply(whole_plan(zone, edited(zone, below)))
    assert caught.value.rrset == below.key
    assert backend.read_zone(zone.name) == zone


def test_a_socket_and_an_address_of_two_servers_are_noticed(
    knot: Knot, make_backend: Callable[..., Backend], zone: ZoneContents
) -> None:
    make_backend().create_zone(zone)
    mixed = make_backend(**knot.key_options())
    with pytest.raises(ServerFailure, match="must be of one server"):
        mixed.read_zone(zone.name)


def test_an_answer_lost_after_the_commit_is_an_unknown_outcome(
    knotd: Knot, make_backend: Callable[..., Backend], zone: ZoneContents
) -> None:
    make_backend().create_zone(zone)
    plan = large(zone)
    with SocketProxy(knotd.control_socket, loses=lambda request: b"zone-commit" in request) as proxy:
        with pytest.raises(OutcomeUnknown):
            make_backend(control_socket=str(proxy.path)).apply(plan)
        assert proxy.lost
    assert make_backend().read_soa(zone.name) == plan.desired_soa


def test_a_transaction_that_a_dead_worker_left_is_ended(
    knotd: Knot, backend: Backend, zone: ZoneContents
) -> None:
    backend.create_zone(zone)
    begin = {"command": "zone-begin", "zone": zone.name}
    marker = {
        "command": "zone-set", "zone": zone.name, "owner": f"_dnsworker-transaction.{zone.name}",
        "ttl": "0", "type": "TXT", "data": '"not committed yet"',
    }  # fmt: skip
    states = [zone, edited(zone, *many(zone.name, LARGE))]
    states.append(edited(states[1], *many(zone.name, LARGE, prefix="other")))
    for left, (before, after) in zip(([begin], [begin, marker]), itertools.pairwise(states), strict=True):
        leave_open(knotd, *left)
        assert "transaction: open" in knotd.knotc("zone-status", zone.name)
        backend.apply(whole_plan(before, after))
        assert backend.read_zone(zone.name) == after


def test_an_operators_transaction_is_left_alone_and_named(
    knotd: Knot, backend: Backend, zone: ZoneContents
) -> None:
    backend.create_zone(zone)
    knotd.knotc("zone-begin", zone.name)
    knotd.knotc("zone-set", zone.name, "theirs", "60", "A", "192.0.2.77")
    with pytest.raises(Busy, match=f"knotc zone-commit {zone.name}"):
        backend.apply(large(zone))
    assert "192.0.2.77" in knotd.knotc("zone-diff", zone.name)
    knotd.knotc("zone-abort", zone.name)
    backend.apply(large(zone))


# Its configuration


def test_a_configuration_transaction_that_a_dead_worker_left_is_ended(
    knotd: Knot, backend: Backend, zone: ZoneContents
) -> None:
    begin = {"command": "conf-begin"}
    half = {"command": "conf-set", "section": "zone", "id": "dead.example."}
    comment = {**half, "item": "comment", "data": "added by dnsworker"}
    for left in ([begin], [begin, half, comment]):
        leave_open(knotd, *left)
        backend.create_zone(zone)
        assert backend.read_zone(zone.name) == zone
        assert "dead.example" not in knotd.knotc("conf-read", "zone")
        backend.delete_zone(zone.name)


def test_an_operators_configuration_transaction_is_left_alone_and_named(
    knotd: Knot, backend: Backend, zone: ZoneContents
) -> None:
    knotd.knotc("conf-begin")
    knotd.knotc("conf-set", "server.version", "theirs")
    try:
        with pytest.raises(Busy, match="knotc conf-diff"):
            backend.create_zone(zone)
        assert "theirs" in knotd.knotc("conf-diff")
    finally:
        knotd.knotc("conf-abort")
    backend.create_zone(zone)


def test_a_template_that_isnt_there_is_named(
    make_backend: Callable[..., Backend], zone: ZoneContents
) -> None:
    backend = make_backend(template="other")
    with pytest.raises(Unsupported, match="refuses the change of its configuration"):
        backend.create_zone(zone)
    assert "no template 'other'" in backend.check().message
    assert make_backend().read_zone(zone.name) is None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"tsig_key_name": "stranger"}, "no key 'stranger'"),
        ({"tsig_key_algorithm": "hmac-sha512"}, "is hmac-sha256 at knotd, and hmac-sha512 here"),
        ({"tsig_key_secret": "bm90IHRoZSBzZWNyZXQ="}, "another secret for the key 'dnsworker'"),
    ],
    ids=["name", "algorithm", "secret"],
)
def test_check_says_what_is_wrong_with_the_key(
    make_backend: Callable[..., Backend], options: dict[str, str], words: str
) -> None:
    health = make_backend(**options).check()
    assert not health.ok
    assert words in health.message


# The control socket


def test_a_socket_that_isnt_there_is_named(make_backend: Callable[..., Backend], tmp_path: Path) -> None:
    missing = tmp_path / "knot.sock"
    with pytest.raises(Unreachable, match=r"knot\.sock: No such file"):
        make_backend(control_socket=str(missing)).delete_zone(Name("gone.example."))


def test_a_control_socket_that_serves_somebody_else_is_waited_for_no_longer_than_allowed(
    knotd: Knot, make_backend: Callable[..., Backend], zone: ZoneContents
) -> None:
    make_backend().create_zone(zone)
    backend = make_backend(timeout_s=0.3)
    with control(knotd).session(), pytest.raises(Unreachable, match=r"didn't answer within 0\.3 s"):
        backend.apply(large(zone))
    assert "transaction: open" not in knotd.knotc("zone-status", zone.name), "it was carried out later"
    make_backend().apply(large(zone))


def test_what_is_no_knot_is_no_knot(make_backend: Callable[..., Backend], tmp_path: Path) -> None:
    path = tmp_path / "other.sock"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def greet() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(b"220 smtp ready\r\n")
            connection.recv(1000)

    thread = threading.Thread(target=greet)
    thread.start()
    try:
        with pytest.raises(ServerFailure, match="no control socket of Knot"):
            make_backend(control_socket=str(path)).delete_zone(Name("gone.example."))
    finally:
        thread.join(10)
        listener.close()


@pytest.mark.parametrize("after", [1, 3])
def test_an_answer_of_the_control_socket_cut_in_the_middle_is_no_answer(
    knotd: Knot, make_backend: Callable[..., Backend], zone: ZoneContents, after: int
) -> None:
    class Cutting(SocketProxy):
        def _pass_answers(self, client: socket.socket, server: socket.socket, request: bytearray) -> None:
            for _ in range(after - 1):
                client.sendall(server.recv(65536))
            client.sendall(server.recv(65536)[:1])
            self._finish(client, server)

    with Cutting(knotd.control_socket, loses=lambda request: False) as proxy:
        cut = make_backend(control_socket=str(proxy.path))
        with pytest.raises((Unreachable, OutcomeUnknown), match="closed the control connection"):
            cut.create_zone(zone)
    make_backend().create_zone(zone)


def test_records_are_told_in_the_generic_form() -> None:
    zone = Name("example.org.")
    rrsets = [RRset("_sip._tcp.example.org.", "SRV", 60, ["1 2 5060 sip.example.org."])]
    ((key, command),) = transaction._additions(zone, rrsets)
    assert key == rrsets[0].key
    assert command["type"] == "TYPE33"
    assert command["data"].startswith("\\# 23 0001000213c4")
