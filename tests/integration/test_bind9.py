"""The `bind9` backend where the shipped suite doesn't go: named's files, crashes, views, keys and words."""

from __future__ import annotations

import base64
import itertools
import select
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import dns.message
import dns.query
import dns.rcode
import dns.tsigkeyring
import pytest
from dns.update import UpdateMessage

from backends import dns_lookup
from backends.bind9 import BACKEND
from backends.bind9.first_transfer import FirstTransfer
from backends.bind9.rndc import CommandFailed, ControlChannel
from dev.servers import Bind
from dnsworker.backend import Backend
from dnsworker.contents import ZoneContents
from dnsworker.errors import (
    AuthenticationFailed,
    BackendError,
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
from dnsworker.plan import Plan, RRsetChange
from dnsworker.records import SOA, RRset
from dnsworker.testing import Proxy

#: A secondary asks for SOAs at this rate; at BIND's own, 20 a second, a creation may wait for half a second.
OPTIONS = "serial-query-rate 1000;"

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def named() -> Iterator[Bind]:
    with Bind(options=OPTIONS) as server:
        yield server


@pytest.fixture
def running(named: Bind) -> Bind:
    named.start()  # where the test before left it dead
    return named


@pytest.fixture
def make_backend(running: Bind) -> Iterator[Callable[..., Backend]]:
    made: list[Backend] = []

    def make(*, timeout_s: float = 5.0, server: Bind = running, **options: Any) -> Backend:
        model = BACKEND.options_model.model_validate({**server.target_options(), **options})
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
        RRset(f"a_b.{apex}", "A", 300, ["192.0.2.3"]),  # BIND's check-names would refuse it
        *more,
    ]
    return ZoneContents.of(apex, soa, rrsets)


def large_zone() -> ZoneContents:
    """Large enough that named takes a while to write it."""
    name = f"z{next(_numbers)}.example."
    return contents(
        name, *(RRset(f"h{i}.{name}", "A", 60, [f"10.0.{i >> 8}.{i & 255}"]) for i in range(20_000))
    )


def put(zone: ZoneContents, *rrsets: RRset, steps: int = 1) -> Plan:
    changes = tuple(RRsetChange(zone.rrsets.get(rrset.key), rrset) for rrset in rrsets)
    return Plan(zone.name, zone.soa, zone.soa.with_serial((zone.soa.serial + steps) % 2**32), changes)


def rndc(server: Bind, command: str, *, statements: str = "") -> str:
    """As an operator would, past the backend."""
    channel = ControlChannel(
        server.address,
        server.rndc_port,
        key=base64.b64decode(server.rndc_secret),
        algorithm="hmac-sha256",
        timeout_s=5,
    )
    try:
        return channel.command(f"{command} {{ {statements} }};" if statements else command)
    finally:
        channel.close()


def zone_files(server: Bind, zone: ZoneContents) -> list[str]:
    return sorted(path.name for path in server.folder.glob(f"{zone.name}dnsworker-*"))


def ask(server: Bind, name: str, kind: str = "SOA") -> dns.message.Message:
    return dns.query.tcp(dns.message.make_query(name, kind), server.address, port=server.port, timeout=5)


def wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.01)


class Stop(ClaimLost):
    """Raised at a checkpoint, in place of a worker's end."""


def stop_at(number: int) -> Callable[[], None]:
    """A checkpoint that raises at its `number`th call."""
    calls = itertools.count(1)

    def checkpoint() -> None:
        if next(calls) == number:
            raise Stop

    return checkpoint


# Zones and their files


def test_a_new_zone_has_one_file_of_its_own(running: Bind, backend: Backend, zone: ZoneContents) -> None:
    backend.create_zone(zone)
    other = contents(f"sub.{zone.name}")
    backend.create_zone(other)
    assert len(zone_files(running, zone)) == 1
    assert len(zone_files(running, other)) == 1
    backend.apply(put(other, RRset(f"new.{other.name}", "A", 60, ["192.0.2.9"])))
    running.restart()
    assert backend.read_zone(zone.name) == zone


def test_nobody_is_told_of_a_zone_that_is_not_complete(
    running: Bind, backend: Backend, zone: ZoneContents
) -> None:
    broken_at, seen = 0, set()
    for number in itertools.count(1):
        backend.checkpoint = stop_at(number)
        try:
            backend.create_zone(zone)
        except Stop:
            broken_at = number
            answer = ask(running, zone.name)
            seen.add(dns.rcode.to_text(answer.rcode()))
            backend.checkpoint = lambda: None
            assert backend.read_zone(zone.name) is None
            assert backend.read_soa(zone.name) is None
            backend.delete_zone(zone.name)
            continue
        break
    assert broken_at >= 4
    assert seen <= {"REFUSED", "SERVFAIL"}, "SERVFAIL until named has fetched it, then REFUSED"
    backend.checkpoint = lambda: None
    assert backend.read_zone(zone.name) == zone


@pytest.mark.parametrize("end", ["kill", "restart"])
def test_a_creation_broken_off_anywhere_is_finished_by_the_next(
    running: Bind, make_backend: Callable[..., Backend], end: str
) -> None:
    for number in (1, 2, 3, 4, 5, 6, 7, 8, 12):
        zone = contents(f"z{next(_numbers)}.example.")
        first, second = make_backend(), make_backend()
        first.checkpoint = stop_at(number)
        try:
            first.create_zone(zone)
        except Stop:
            if end == "kill":
                running.kill()
            else:
                running.stop()
            running.start()
        assert second.read_zone(zone.name) in (None, zone)
        second.create_zone(zone)
        assert second.read_zone(zone.name) == zone
        running.kill()
        running.start()
        assert second.read_zone(zone.name) == zone, f"lost by a crash after breaking off at {number}"
        assert dns.rcode.to_text(ask(running, zone.name).rcode()) == "NOERROR"


def test_deleting_leaves_no_file_behind_and_the_zone_can_come_back(
    running: Bind, backend: Backend, zone: ZoneContents
) -> None:
    backend.create_zone(zone)
    backend.apply(put(zone, RRset(f"new.{zone.name}", "A", 60, ["192.0.2.9"])))
    assert any(name.endswith(".jnl") for name in zone_files(running, zone))
    backend.delete_zone(zone.name)
    wait_for(lambda: zone_files(running, zone) == [], "the files to go")
    backend.create_zone(zone)
    assert backend.read_zone(zone.name) == zone
    running.restart()
    assert backend.read_zone(zone.name) == zone


def test_a_deletion_lasts_over_a_crash(running: Bind, backend: Backend, zone: ZoneContents) -> None:
    backend.create_zone(zone)
    backend.delete_zone(zone.name)
    running.kill()
    running.start()
    assert backend.read_zone(zone.name) is None


def test_a_zone_whose_file_is_gone_is_an_error_until_it_is_created_again(
    running: Bind, backend: Backend, zone: ZoneContents
) -> None:
    backend.create_zone(zone)
    running.stop()
    for name in zone_files(running, zone):
        (running.folder / name).unlink()
    running.start()
    for read in (backend.read_zone, backend.read_soa):
        with pytest.raises(ServerFailure):
            read(zone.name)
    backend.create_zone(zone)
    assert backend.read_zone(zone.name) == zone


@pytest.mark.parametrize(
    "name", ["0/25.2.0.192.in-addr.arpa.", "under_score.example.", "a." * 100 + "example."]
)
def test_odd_zone_names_work(running: Bind, backend: Backend, name: str) -> None:
    zone = contents(name)
    backend.create_zone(zone)
    running.restart()
    assert backend.read_zone(zone.name) == zone
    backend.delete_zone(zone.name)
    assert backend.read_zone(zone.name) is None


def test_a_large_zone_is_written_before_it_counts_as_there(running: Bind, backend: Backend) -> None:
    zone = large_zone()
    backend.create_zone(zone)
    running.kill()
    running.start()
    assert backend.read_zone(zone.name) == zone


def test_a_zone_can_start_from_a_file_that_the_worker_writes(
    running: Bind, make_backend: Callable[..., Backend], zone: ZoneContents, monkeypatch: pytest.MonkeyPatch
) -> None:
    (running.folder / "zones").mkdir(exist_ok=True)
    backend = make_backend(zone_directory="zones", local_zone_directory=str(running.folder / "zones"))
    monkeypatch.delattr(FirstTransfer, "serve")  # not that way
    text = RRset(f"text.{zone.name}", "TXT", 60, [r'"a; \"b\" \\ \000\255" "two"'])
    zone = replace(zone, rrsets={**zone.rrsets, text.key: text})
    backend.create_zone(zone)
    assert backend.read_zone(zone.name) == zone
    assert len(list((running.folder / "zones").iterdir())) == 1
    backend.apply(put(zone, RRset(f"new.{zone.name}", "A", 60, ["192.0.2.9"])))
    running.kill()
    running.start()
    assert backend.read_soa(zone.name) == zone.soa.with_serial(zone.soa.serial + 1)
    backend.delete_zone(zone.name)


def test_a_directory_that_isnt_there_is_named(
    make_backend: Callable[..., Backend], zone: ZoneContents
) -> None:
    backend = make_backend(local_zone_directory=str(Path("not", "there")))
    with pytest.raises(Unsupported, match="local_zone_directory"):
        backend.create_zone(zone)


def test_a_file_that_named_could_not_write_is_asked_for_again(
    running: Bind, make_backend: Callable[..., Backend], zone: ZoneContents
) -> None:
    backend = make_backend(zone_directory="later")
    asked = itertools.count(1)

    def make_directory() -> None:
        if next(asked) == 40:  # long after named was first told to write
            (running.folder / "later").mkdir()

    backend.checkpoint = make_directory
    backend.create_zone(zone)
    assert next(asked) > 40
    backend.checkpoint = lambda: None
    assert backend.read_zone(zone.name) == zone
    backend.delete_zone(zone.name)


def test_a_file_that_named_never_writes_is_no_fault_of_the_contents(
    make_backend: Callable[..., Backend], zone: ZoneContents
) -> None:
    backend = make_backend(zone_directory="nowhere", timeout_s=0.5)
    with pytest.raises(Busy, match="see its log"):
        backend.create_zone(zone)
    assert backend.read_soa(zone.name) is None


def test_a_named_that_cant_fetch_the_zone_is_told_what_to_do(
    make_backend: Callable[..., Backend], zone: ZoneContents, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hear_nothing(self: FirstTransfer, wait_s: float) -> bool:
        select.select([], [], [], wait_s)
        return False

    monkeypatch.setattr(FirstTransfer, "serve", hear_nothing)
    backend = make_backend(timeout_s=0.3)
    with pytest.raises(Unreachable, match="transfer_host"):
        backend.create_zone(zone)
    assert backend.read_zone(zone.name) is None  # and nothing half-done stays


def test_a_taken_transfer_port_is_named(
    make_backend: Callable[..., Backend], running: Bind, zone: ZoneContents
) -> None:
    with pytest.raises(Busy, match=f"port {running.port}"):
        make_backend(transfer_port=running.port).create_zone(zone)


def test_a_stranger_gets_nothing_from_the_first_transfer(
    running: Bind, make_backend: Callable[..., Backend], zone: ZoneContents, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = []
    serve = FirstTransfer.serve

    def serve_among_strangers(self: FirstTransfer, wait_s: float) -> bool:
        if not answers:
            query = dns.message.make_query(zone.name, "SOA").to_wire()
            answer = dns.message.from_wire(self._answer_datagram(query))
            answers.append(answer)
        return serve(self, wait_s)

    monkeypatch.setattr(FirstTransfer, "serve", serve_among_strangers)
    make_backend().create_zone(zone)
    assert answers[0].rcode() == dns.rcode.REFUSED
    assert not answers[0].answer


def test_a_record_that_named_does_not_take_is_a_rejection(
    make_backend: Callable[..., Backend], zone: ZoneContents
) -> None:
    backend = make_backend(timeout_s=1.0)
    many = RRset(f"many.{zone.name}", "A", 60, [f"192.0.2.{number}" for number in range(101)])
    with pytest.raises(RecordRejected, match="max-records-per-type"):
        backend.create_zone(replace(zone, rrsets={**zone.rrsets, many.key: many}))
    assert backend.read_zone(zone.name) is None
    backend.create_zone(zone)
    assert backend.read_zone(zone.name) == zone


def test_a_primary_of_the_operators_is_brought_to_the_contents_and_stays(
    running: Bind, backend: Backend, zone: ZoneContents
) -> None:
    backend.create_zone(contents(zone.name, RRset(f"old.{zone.name}", "A", 60, ["192.0.2.7"]), serial=1))
    files = zone_files(running, zone)
    backend.create_zone(zone)
    assert backend.read_zone(zone.name) == zone
    assert set(zone_files(running, zone)) >= set(files), "replaced where an update would have done"


def test_a_secondary_of_the_operators_is_left_alone(
    running: Bind, backend: Backend, zone: ZoneContents
) -> None:
    rndc(
        running,
        f"addzone {zone.name}",
        statements='type secondary; file "theirs.db"; primaries { 127.0.0.1 port 9; };',
    )
    with pytest.raises(Unsupported, match="not as a primary"):
        backend.create_zone(zone)
    assert "theirs.db" in rndc(running, f"showzone {zone.name}")


def test_a_zone_of_named_conf_is_not_deleted(make_backend: Callable[..., Backend]) -> None:
    # The closing brace of `options` ends the zone instead.
    static = 'notify no; }; zone "static.example" { type primary; file "static.db"; '
    server = Bind(options=f"{OPTIONS} {static}")
    (server.folder / "static.db").write_text("@ 60 SOA . . 1 1 1 1 1\n@ 60 NS ns1.example.net.\n")
    with server:
        backend = make_backend(server=server)
        with pytest.raises(Unsupported, match=r"named\.conf"):
            backend.delete_zone(Name("static.example."))
        assert ask(server, "static.example").rcode() == dns.rcode.NOERROR


def test_a_named_without_allow_new_zones_says_so(
    make_backend: Callable[..., Backend], zone: ZoneContents
) -> None:
    with (
        Bind(options="allow-new-zones no;") as server,
        pytest.raises(Unsupported, match="allow-new-zones yes"),
    ):
        make_backend(server=server).create_zone(zone)


def test_one_name_in_two_views_is_two_zones(tmp_path: Path, make_backend: Callable[..., Backend]) -> None:
    with _BindWithViews(options=OPTIONS) as server:
        inside = make_backend(server=server, view="inside")
        outside = make_backend(
            server=server, view="outside", tsig_key_name="outside", tsig_key_secret=server.rndc_secret
        )
        zones = [contents("example.org.", serial=serial) for serial in (10, 20)]
        for backend, zone in zip((inside, outside), zones, strict=True):
            backend.create_zone(zone)
        assert [backend.read_zone(Name("example.org.")) for backend in (inside, outside)] == zones
        server.restart()
        inside.delete_zone(Name("example.org."))
        assert inside.read_zone(Name("example.org.")) is None
        assert inside.read_soa(Name("example.org.")) is None
        assert outside.read_zone(Name("example.org.")) == zones[1]
        with pytest.raises(Unsupported, match="view"):
            make_backend(server=server, view="upside").create_zone(zones[0])


class _BindWithViews(Bind):
    """Two views, told apart by the key."""

    def _configure(self) -> None:
        super()._configure()
        path = self.folder / "named.conf"
        path.write_text(
            path.read_text()
            + f'key "outside" {{ algorithm hmac-sha256; secret "{self.rndc_secret}"; }};\n'
            + f'view "inside" {{ match-clients {{ key "{self.key_name}"; }}; }};\n'
            + 'view "outside" { match-clients { any; }; };\n'
        )


# Changes


@pytest.mark.parametrize("end", ["kill", "restart"])
def test_serials_that_jump_around_the_circle_survive(
    running: Bind, backend: Backend, zone: ZoneContents, end: str
) -> None:
    """After three jumps of nearly 2³⁰ in one journal named can't load a zone; so its file is written."""
    backend.create_zone(zone)
    for number in range(5):
        plan = put(zone, RRset(f"www.{zone.name}", "A", 60, [f"192.0.2.{number}"]), steps=2**30 - 1)
        backend.apply(plan)
        zone = replace(
            zone, soa=plan.desired_soa, rrsets={**zone.rrsets, plan.changes[0].key: plan.changes[0].after}
        )  # type: ignore[dict-item]
    if end == "kill":
        running.kill()
    else:
        running.stop()
    running.start()
    assert backend.read_zone(zone.name) == zone


def test_an_update_that_was_answered_survives_a_crash(running: Bind, backend: Backend) -> None:
    """Also while named writes the zone's file: after `sync -clean` the journal would be gone by then."""
    zone = large_zone()
    backend.create_zone(zone)
    plan = put(zone, RRset(f"new.{zone.name}", "A", 60, ["192.0.2.9"]), steps=2**25)
    backend.apply(plan)
    running.kill()
    running.start()
    assert backend.read_soa(zone.name) == plan.desired_soa


def test_a_refused_record_and_a_refused_key_are_told_apart(
    running: Bind, backend: Backend, zone: ZoneContents
) -> None:
    backend.create_zone(zone)
    without_address = RRset(zone.name, "NS", 3600, ["ns1.example.net.", f"ns.{zone.name}"])
    with pytest.raises(RecordRejected, match="no address there"):
        backend.apply(put(zone, without_address))
    statement = rndc(running, f"showzone {zone.name}")
    inner = (
        statement.partition("{")[2]
        .rpartition("}")[0]
        .replace(f'allow-update {{ key "{running.key_name}"; }};', "")
    )
    rndc(running, f"modzone {zone.name}", statements=inner + " allow-update { none; };")
    with pytest.raises(AuthenticationFailed, match="allow-update"):
        backend.apply(put(zone, RRset(f"new.{zone.name}", "A", 60, ["192.0.2.9"])))


def test_a_refused_transfer_is_not_an_absent_zone(
    running: Bind, backend: Backend, zone: ZoneContents
) -> None:
    backend.create_zone(zone)
    statement = rndc(running, f"showzone {zone.name}")
    inner = (
        statement.partition("{")[2]
        .rpartition("}")[0]
        .replace("allow-transfer", "also-notify { }; allow-transfer")
    )
    inner = inner.replace(f'allow-transfer  {{ key "{running.key_name}"; }};', "allow-transfer { none; };")
    rndc(running, f"modzone {zone.name}", statements=inner)
    for read in (lambda: backend.read_zone(zone.name), lambda: backend.read_changes(zone.name, zone.soa)):
        with pytest.raises(AuthenticationFailed, match="allow-transfer"):
            read()


def test_the_whole_soa_is_the_fence(backend: Backend, zone: ZoneContents) -> None:
    backend.create_zone(zone)
    plan = put(
        replace(zone, soa=replace(zone.soa, refresh=1)), RRset(f"new.{zone.name}", "A", 60, ["192.0.2.9"])
    )
    with pytest.raises(ZoneChanged):
        backend.apply(plan)
    assert backend.read_zone(zone.name) == zone


def test_an_alias_beside_an_address_is_ignored_by_named_and_seen_by_a_read(
    backend: Backend, zone: ZoneContents
) -> None:
    """NOERROR and the new serial, and no CNAME: only reading back tells."""
    backend.create_zone(zone)
    alias = RRset(f"www.{zone.name}", "CNAME", 60, ["other.example."])
    plan = put(zone, alias)
    backend.apply(plan)
    delta = backend.read_changes(zone.name, zone.soa)
    assert delta is not None
    assert delta.soa == plan.desired_soa
    assert alias.key not in delta.added
    assert backend.read_rrsets(zone.name, [alias.key]) == {}


# Connections, keys and clocks


def test_kept_connections_outlive_a_restart_of_named(
    running: Bind, backend: Backend, zone: ZoneContents
) -> None:
    backend.create_zone(zone)
    running.restart()
    backend.apply(put(zone, RRset(f"new.{zone.name}", "A", 60, ["192.0.2.9"])))
    running.kill()
    running.start()
    backend.delete_zone(zone.name)


def test_a_lost_answer_on_a_kept_connection_is_sent_again_behind_the_fence(
    running: Bind, make_backend: Callable[..., Backend], zone: ZoneContents
) -> None:
    losing = [False]
    with Proxy(running.address, running.port, loses=lambda request: losing[0]) as proxy:
        backend = make_backend(port=proxy.port)
        backend.create_zone(zone)
        assert backend.read_soa(zone.name) == zone.soa  # the connection is now kept
        losing[0] = True
        plan = put(zone, RRset(f"new.{zone.name}", "A", 60, ["192.0.2.9"]))
        with pytest.raises((OutcomeUnknown, ZoneChanged)):
            backend.apply(plan)
        losing[0] = False
        assert backend.read_soa(zone.name) == plan.desired_soa


def test_a_frozen_named_is_no_outcome_but_a_question(
    running: Bind, make_backend: Callable[..., Backend], zone: ZoneContents
) -> None:
    backend = make_backend(timeout_s=2.0)
    backend.create_zone(zone)
    running.pause()
    try:
        with pytest.raises(OutcomeUnknown):
            backend.apply(put(zone, RRset(f"new.{zone.name}", "A", 60, ["192.0.2.9"])))
        with pytest.raises(Unreachable):
            backend.read_soa(zone.name)
        with pytest.raises(OutcomeUnknown):
            backend.delete_zone(zone.name)  # over a control connection that was open
        backend.close()
        with pytest.raises(Unreachable):
            backend.delete_zone(zone.name)
        assert not backend.check().ok
    finally:
        running.cont()
    assert backend.check().ok


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"tsig_key_secret": base64.b64encode(b"another secret").decode()}, "BADSIG"),
        ({"tsig_key_name": "nobody"}, "BADKEY"),
        ({"tsig_key_algorithm": "hmac-sha512"}, "BADKEY"),
    ],
)
def test_a_wrong_tsig_key_is_named_for_what_it_is(
    make_backend: Callable[..., Backend],
    backend: Backend,
    zone: ZoneContents,
    wrong: dict[str, Any],
    word: str,
) -> None:
    backend.create_zone(zone)
    stranger = make_backend(**wrong)
    calls: list[Callable[[], object]] = [
        lambda: stranger.read_zone(zone.name),
        lambda: stranger.read_soa(zone.name),
        lambda: stranger.read_changes(zone.name, zone.soa),
        lambda: stranger.apply(put(zone, RRset(f"new.{zone.name}", "A", 60, ["192.0.2.9"]))),
    ]
    for call in calls:
        with pytest.raises(AuthenticationFailed, match=word):
            call()
    health = stranger.check()
    assert not health.ok
    assert word in health.message


def test_a_wrong_tsig_key_is_said_even_where_rndc_fails_too(
    running: Bind, make_backend: Callable[..., Backend], zone: ZoneContents
) -> None:
    stranger = make_backend(tsig_key_name="nobody", rndc_port=1)
    with pytest.raises(AuthenticationFailed, match="BADKEY"):
        stranger.read_zone(zone.name)


@pytest.mark.parametrize(
    "wrong",
    [
        {"rndc_key_secret": base64.b64encode(b"another secret").decode()},
        {"rndc_key_algorithm": "hmac-sha512"},
    ],
)
def test_a_wrong_control_key_is_no_unreachable_server(
    make_backend: Callable[..., Backend], zone: ZoneContents, wrong: dict[str, Any]
) -> None:
    stranger = make_backend(**wrong)
    with pytest.raises(AuthenticationFailed, match="clock"):
        stranger.create_zone(zone)
    assert "closed the control connection" in stranger.check().message


def test_a_clock_that_is_wrong_is_named(
    make_backend: Callable[..., Backend],
    backend: Backend,
    zone: ZoneContents,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    backend.create_zone(zone)
    late = make_backend()
    now = time.time
    monkeypatch.setattr("time.time", lambda: now() - 3600)
    with pytest.raises(AuthenticationFailed, match="clock"):
        late.apply(put(zone, RRset(f"new.{zone.name}", "A", 60, ["192.0.2.9"])))
    with pytest.raises(AuthenticationFailed, match="clock"):
        late.delete_zone(zone.name)


def test_a_port_where_nobody_listens_is_unreachable(
    running: Bind, make_backend: Callable[..., Backend], zone: ZoneContents
) -> None:
    running.stop()
    backend = make_backend()
    calls: list[Callable[[], object]] = [
        lambda: backend.read_zone(zone.name),
        lambda: backend.apply(put(zone)),
        lambda: backend.create_zone(zone),
        lambda: backend.delete_zone(zone.name),
    ]
    for call in calls:
        with pytest.raises(Unreachable):
            call()
    assert "refused" in backend.check().message


def test_a_port_of_something_else_is_no_success(
    running: Bind, make_backend: Callable[..., Backend], zone: ZoneContents
) -> None:
    swapped = make_backend(port=running.rndc_port, rndc_port=running.port, timeout_s=0.5)
    for call in (lambda: swapped.read_zone(zone.name), lambda: swapped.delete_zone(zone.name)):
        with pytest.raises(BackendError):
            call()
    assert not swapped.check().ok


def test_the_rndc_program_and_we_are_told_the_same(running: Bind) -> None:
    program = subprocess.run(
        [
            *("rndc", "-s", running.address, "-p", str(running.rndc_port), "-y", running.rndc_key_name),
            *("-c", str(_rndc_conf(running)), "showzone", "absent.example"),
        ],
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
    )
    with pytest.raises(CommandFailed) as caught:
        rndc(running, "showzone absent.example")
    assert caught.value.text in program.stderr


def _rndc_conf(server: Bind) -> Path:
    path = server.folder / "rndc.conf"
    path.write_text(
        f'key "{server.rndc_key_name}" {{ algorithm hmac-sha256; secret "{server.rndc_secret}"; }};\n'
    )
    return path


# Reading


def test_lookups_never_differ_from_what_is_stored(backend: Backend) -> None:
    """Wildcards, cuts, glue, aliases, child zones: an answer is what is stored, or "can't tell"."""
    apex = f"z{next(_numbers)}.example."
    zone = contents(
        apex,
        RRset(f"*.{apex}", "TXT", 60, ['"star"']),
        RRset(f"*.wild.{apex}", "A", 60, ["192.0.2.1"]),
        RRset(f"same.wild.{apex}", "A", 60, ["192.0.2.1"]),
        RRset(f"a.b.c.{apex}", "A", 60, ["192.0.2.4"]),
        RRset(f"cut.{apex}", "NS", 60, [f"ns.cut.{apex}"]),
        RRset(f"ns.cut.{apex}", "A", 60, ["192.0.2.5"]),
        RRset(f"alias.{apex}", "CNAME", 60, [f"www.{apex}"]),
        RRset(f"dname.{apex}", "DNAME", 60, ["example.net."]),
        RRset(f"child.{apex}", "NS", 60, ["ns1.example.net."]),
    )
    backend.create_zone(zone)
    backend.create_zone(contents(f"child.{apex}", RRset(f"only.child.{apex}", "A", 60, ["192.0.2.6"])))
    names = [
        f"{label}.{apex}" for label in ("www", "gone", "x.wild", "same.wild", "wild", "b.c", "a.b.c", "cut")
    ]
    names += [
        f"{label}.{apex}" for label in ("ns.cut", "x.cut", "alias", "x.alias", "dname", "x.dname", "child")
    ]
    names += [f"{label}.{apex}" for label in ("only.child", "*", "*.wild")] + [apex]
    told = 0
    for name, kind in itertools.product(names, ("A", "TXT", "NS", "CNAME", "DNAME", "MX")):
        key = (Name(name), kind)
        stored = {key: zone.rrsets[key]} if key in zone.rrsets else {}
        found = dns_lookup.look_up(backend._dns, zone.name, [key])  # type: ignore[attr-defined]
        assert found in (None, stored), f"{name} {kind}"
        told += found is not None
        assert backend.read_rrsets(zone.name, [key]) == stored
    assert told > 60, "queries are hardly ever enough"


@pytest.mark.parametrize("is_shared_folder", [False, True])
def test_an_edit_of_a_zone_of_three_records_is_told_as_an_edit(
    running: Bind, make_backend: Callable[..., Backend], is_shared_folder: bool
) -> None:
    """By itself named sends the whole zone where that is shorter, and nobody knows what was edited."""
    more = {"local_zone_directory": running.folder, "zone_directory": str(running.folder)}
    backend = make_backend(**(more if is_shared_folder else {}))
    name = f"z{next(_numbers)}.example."
    soa = SOA(Name("ns1.example.net."), Name("hostmaster.example.net."), 2026112301)
    tiny = ZoneContents.of(Name(name), soa, [RRset(Name(name), "NS", 60, ["ns1.example.net."])])
    backend.create_zone(tiny)
    edited = RRset(f"edited.{name}", "TXT", 60, [f'"{"by hand" * 30}"'])
    message = UpdateMessage(name, keyring=dns.tsigkeyring.from_text({running.key_name: running.key_secret}))
    message.add(str(edited.name), 60, "TXT", *edited.data)
    dns.query.tcp(message, running.address, port=running.port, timeout=5)
    delta = backend.read_changes(tiny.name, tiny.soa)
    assert delta is not None
    assert delta.soa.serial == tiny.soa.serial + 1
    assert delta.added[edited.key] == {(60, text) for text in edited.data}


def test_changes_before_the_history_began_can_not_be_told(backend: Backend, zone: ZoneContents) -> None:
    backend.create_zone(zone)
    plan = put(zone, RRset(f"new.{zone.name}", "A", 60, ["192.0.2.9"]))
    backend.apply(plan)
    assert backend.read_changes(zone.name, zone.soa.with_serial(1)) is None
    assert backend.read_changes(zone.name, zone.soa.with_serial(zone.soa.serial + 1000)) is None
    assert backend.read_changes(zone.name, replace(zone.soa, minimum=1)) is None  # our serial, not our zone
    unchanged = backend.read_changes(zone.name, plan.desired_soa)
    assert unchanged is not None
    assert not unchanged.keys
    assert backend.read_zone(zone.name) is not None  # and the connection is none the worse
