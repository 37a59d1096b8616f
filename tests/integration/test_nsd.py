"""The `nsd` backend where the shipped suite doesn't go: certificates, cut answers, patterns, and restarts."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from backends.nsd import BACKEND
from dev.servers import Nsd
from dnsworker.backend import Backend
from dnsworker.contents import ZoneContents
from dnsworker.errors import (
    AuthenticationFailed,
    BackendError,
    Behind,
    OutcomeUnknown,
    ServerFailure,
    Unreachable,
    Unsupported,
    ZoneMissing,
)
from dnsworker.names import Name
from dnsworker.plan import Plan
from dnsworker.records import SOA, RRset
from dnsworker.testing import Primary
from tests.tlsproxy import TlsProxy

MakeBackend = Callable[..., Backend]
_numbers = itertools.count(1)
STATIC = "static.example."


@pytest.fixture(scope="module")
def primary() -> Iterator[Primary]:
    with Primary() as primary:
        yield primary


@pytest.fixture(scope="module")
def running(primary: Primary) -> Iterator[Nsd]:
    more = f'pattern:\n    name: "other"\nzone:\n    name: "{STATIC}"\n    include-pattern: "dnsworker"\n'
    with Nsd(primary=(primary.host, primary.port), patterns=more) as server:
        yield server


@pytest.fixture(scope="module")
def stranger() -> Iterator[Path]:
    """A folder of certificates and keys of another server."""
    server = Nsd()
    server._configure()
    yield server.folder
    server.close()


@pytest.fixture
def server(running: Nsd) -> Nsd:
    running.start()
    running.cont()
    return running


@pytest.fixture
def make(server: Nsd) -> Iterator[MakeBackend]:
    made: list[Backend] = []

    def make(*, timeout_s: float = 30.0, **options: object) -> Backend:
        values = {name: value for name, value in {**server.target_options(), **options}.items() if value}
        made.append(BACKEND("ns1", BACKEND.options_model.model_validate(values), timeout_s=timeout_s))
        return made[-1]

    yield make
    for backend in made:
        backend.close()


def contents(*rrsets: RRset, serial: int = 1, name: str = "") -> ZoneContents:
    apex = Name(name or f"z{next(_numbers)}.example.")
    soa = SOA(Name("ns1.example.net."), Name("hostmaster.example.net."), serial)
    return ZoneContents.of(apex, soa, [RRset(apex, "NS", 60, ["ns1.example.net."]), *rrsets])


def step(zone: ZoneContents) -> tuple[Plan, ZoneContents]:
    after = replace(zone, soa=zone.soa.with_serial(zone.soa.serial + 1))
    return Plan(zone.name, zone.soa, after.soa, ()), after


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def all_calls(backend: Backend, zone: ZoneContents) -> list[Callable[[], object]]:
    return [
        lambda: backend.read_zone(zone.name),
        lambda: backend.read_soa(zone.name),
        lambda: backend.create_zone(zone),
        lambda: backend.apply(step(zone)[0]),
        lambda: backend.delete_zone(zone.name),
    ]


# The control socket


def test_a_server_with_another_certificate_is_not_believed(make: MakeBackend, stranger: Path) -> None:
    backend = make(server_cert_file=str(stranger / "nsd_server.pem"))
    zone = contents()
    for call in all_calls(backend, zone):  # the zone is absent: every one of them needs NSD's own word
        with pytest.raises(AuthenticationFailed, match=r"is not the one of .*nsd_server\.pem and not signed"):
            call()
    assert not backend.check().ok


def test_a_certificate_that_the_server_did_not_sign_is_refused(make: MakeBackend, stranger: Path) -> None:
    certificate, key = stranger / "nsd_control.pem", stranger / "nsd_control.key"
    backend = make(control_cert_file=str(certificate), control_key_file=str(key))
    for call in all_calls(backend, contents()):
        with pytest.raises(AuthenticationFailed, match=f"doesn't accept the certificate of {certificate}"):
            call()
    assert "must be signed by the server's (nsd-control-setup)" in backend.check().message


@pytest.mark.parametrize("option", ["server_cert_file", "control_cert_file", "control_key_file"])
def test_a_file_that_cannot_be_used_is_named(make: MakeBackend, option: str, tmp_path: Path) -> None:
    file = tmp_path / "file.pem"
    backend = make(**{option: str(file)})
    for text in (None, "", "no certificate"):
        if text is not None:
            file.write_text(text)
        with pytest.raises(AuthenticationFailed, match=r"can't use .*: "):
            backend.create_zone(contents())
    assert not backend.check().ok


def test_what_does_not_speak_tls_is_unreachable(make: MakeBackend) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def greet() -> None:
            for _ in range(6):
                connection, _ = listener.accept()
                with connection:
                    connection.sendall(b"220 mail.example.net ESMTP\r\n")
                    connection.recv(4096)

        thread = threading.Thread(target=greet)
        thread.start()
        backend = make(control_port=listener.getsockname()[1])
        for call in all_calls(backend, contents()):
            with pytest.raises(Unreachable, match="doesn't speak TLS: wrong version number"):
                call()
        assert not backend.check().ok
        thread.join(30)


def test_a_server_that_hangs_is_unreachable(make: MakeBackend, server: Nsd) -> None:
    backend = make(timeout_s=0.3)
    server.pause()
    for call in all_calls(backend, contents()):
        with pytest.raises(Unreachable, match="timed out"):
            call()
    server.cont()
    assert make().check().ok


def test_an_answer_that_is_cut_says_nothing(make: MakeBackend, server: Nsd, primary: Primary) -> None:
    """Not even when what is left of it could be read."""
    zone = contents()
    primary.hold(zone)
    make().create_zone(zone)
    for kept in (0, 3, -1):
        proxy = TlsProxy(server, lambda _, answer, kept=kept: answer[:kept])  # type: ignore[misc]
        backend = make(control_port=proxy.port)
        with pytest.raises(Unreachable, match="'zonestatus' and did not answer"):
            backend.read_zone(contents().name)
        assert not backend.check().ok
        proxy.close()
    for command in ("addzone", "transfer", "delzone"):
        proxy = TlsProxy(
            server,
            lambda sent, answer, command=command: None if sent.startswith(command) else answer,  # type: ignore[misc]
        )
        backend = make(control_port=proxy.port)
        other = contents()
        primary.hold(other)
        plan, after = step(zone)
        primary.hold(after)
        write = {
            "addzone": lambda backend=backend, other=other: backend.create_zone(other),
            "transfer": lambda backend=backend, plan=plan: backend.apply(plan),
            "delzone": lambda backend=backend: backend.delete_zone(zone.name),
        }[command]
        with pytest.raises(OutcomeUnknown, match=f"was sent {command!r} and did not answer"):
            write()
        proxy.close()
    make().delete_zone(zone.name)
    assert make().read_zone(zone.name) is None


# Zones and their patterns


def test_a_zone_removed_behind_our_back_is_missing_and_made_again(
    make: MakeBackend, server: Nsd, primary: Primary
) -> None:
    zone = contents()
    primary.hold(zone)
    backend = make()
    backend.create_zone(zone)
    server.control("delzone", zone.name.removesuffix("."))
    plan, after = step(zone)
    primary.hold(after)
    with pytest.raises(ZoneMissing, match=f"NSD has no zone {zone.name}"):
        backend.apply(plan)
    wait_for(lambda: backend.read_zone(zone.name) is None)  # its servers hear of it a moment later
    assert backend.read_soa(zone.name) is None
    backend.create_zone(after)
    assert backend.read_zone(zone.name) == after


def test_a_primary_that_is_late_makes_nsd_behind_and_no_zone_absent(
    make: MakeBackend, primary: Primary
) -> None:
    zone, backend, impatient = contents(), make(), make(timeout_s=0.3)
    with pytest.raises(Behind, match=r"NSD has not got it from its primary, and not at 1, .*'dnsworker'"):
        impatient.create_zone(zone)
    for read in (backend.read_zone, backend.read_soa):
        with pytest.raises(Behind, match=r"has been given .*it has not transferred it"):
            read(zone.name)
    primary.hold(zone)
    backend.create_zone(zone)
    plan, after = step(zone)
    with pytest.raises(Behind, match="NSD is at serial 1, and not at 2, after"):
        impatient.apply(plan)
    primary.hold(after)
    backend.apply(plan)
    assert backend.read_zone(zone.name) == after


def test_a_pattern_that_is_not_there_or_another_is_said(
    make: MakeBackend, server: Nsd, primary: Primary
) -> None:
    zone = contents()
    primary.hold(zone)
    with pytest.raises(Unsupported, match="pattern nowhere does not exist; compare `pattern`"):
        make(pattern="nowhere").create_zone(zone)
    server.control("addzone", zone.name.removesuffix("."), "other")
    with pytest.raises(Unsupported, match="with the pattern 'other' and not 'dnsworker'"):
        make().create_zone(zone)
    make().delete_zone(zone.name)


def test_a_zone_of_nsd_conf_is_not_deleted(make: MakeBackend, primary: Primary) -> None:
    zone = contents(name=STATIC)
    primary.hold(zone)
    with pytest.raises(Unsupported, match=r"nsd\.conf"):
        make().delete_zone(zone.name)


def test_transfers_go_by_what_the_pattern_says(make: MakeBackend, primary: Primary) -> None:
    unsigned, signed = make(pattern="open", tsig_key=None), make()
    zone, other = contents(), contents()
    for each in (zone, other):
        primary.hold(each)
    unsigned.create_zone(zone)
    assert unsigned.read_zone(zone.name) == zone
    assert unsigned.read_rrsets(zone.name, [(zone.name, "NS")]) == zone.rrsets
    assert unsigned.read_zone(contents().name) is None
    assert unsigned.check().ok
    signed.create_zone(other)
    with pytest.raises(AuthenticationFailed, match=r"'NOKEY'.*REFUSED"):
        unsigned.read_zone(other.name)
    with pytest.raises(AuthenticationFailed, match="doesn't know the TSIG key 'nobody'"):
        make(tsig_key="nobody:bm9ib2R5").read_zone(other.name)


# What NSD does


def test_an_old_file_after_a_restart_is_overcome(make: MakeBackend, server: Nsd, primary: Primary) -> None:
    """NSD remembers that it had the newer serial, and asks for nothing."""
    zone, backend = contents(), make()
    primary.hold(zone)
    backend.create_zone(zone)
    name = zone.name.removesuffix(".")
    server.control("write", name)
    wait_for((server.folder / "zones" / f"{name}.zone").exists)
    plan, after = step(zone)
    primary.hold(after)
    server.control("transfer", name)
    wait_for(lambda: backend.read_soa(zone.name) == after.soa)
    server.stop()
    server.start()
    assert backend.read_soa(zone.name) == zone.soa
    backend.apply(plan)
    assert backend.read_zone(zone.name) == after


def test_a_record_that_nsd_cannot_send_ends_in_an_error(make: MakeBackend, primary: Primary) -> None:
    """16 KiB and more: NSD 4.6.1 sends empty messages without end."""
    zone = contents(
        RRset("long.big.example.", "TYPE65280", 60, [f"\\# 17000 {'ab' * 17000}"]), name="big.example."
    )
    primary.hold(zone)
    with pytest.raises(ServerFailure, match="an empty message"):
        make().create_zone(zone)


def test_no_secret_shows(make: MakeBackend, server: Nsd) -> None:
    backend = make()
    texts = [repr(backend), str(vars(backend)), repr(backend.capabilities), backend.check().message]
    with pytest.raises(BackendError) as caught:
        make(control_port=9).read_zone(contents().name)
    texts.append(str(caught.value))
    assert not [text for text in texts if server.key_secret in text]


def test_a_slow_budget_is_not_nsd_being_late(make: MakeBackend, primary: Primary) -> None:
    zone = contents()
    primary.hold(zone)
    make().create_zone(zone)
    backend, waits = make(timeout_s=1), itertools.count()
    backend.checkpoint = lambda: next(waits) and time.sleep(0.5)
    plan, after = step(zone)
    primary.hold(after)
    assert backend.apply(plan).soa == after.soa
    assert next(waits) >= 4
    assert make().read_soa(zone.name) == after.soa
    make().delete_zone(zone.name)
    primary.drop(zone.name)
