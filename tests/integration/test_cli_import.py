"""`dnsworker zone import` and `export` against a real BIND and PowerDNS, with a runtime in this process."""

from __future__ import annotations

import itertools
import json
import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from dev.servers import Bind, PowerDNS
from dnsworker import zonefile
from dnsworker.backend import Backend
from dnsworker.cli import cli
from dnsworker.contents import ZoneContents
from dnsworker.names import Name
from dnsworker.operations import Outcome
from dnsworker.pools import Target, build_options, load_backend
from dnsworker.records import SOA, RRset
from dnsworker.runtime import Runtime
from dnsworker.settings import load_settings

Run = Callable[..., Result]
DEADLINE_S = 60
_numbers = itertools.count(1)


class StubSignals:
    """Nobody is woken and nobody is told: the test does both by hand."""

    def wake_delivery(self, target: str) -> None: ...
    def publish_outcomes(self, outcomes: Sequence[Outcome]) -> None: ...


@pytest.fixture
def zone() -> Name:
    return Name(f"import{next(_numbers)}.test.")


@pytest.fixture
def run(bind: Bind, powerdns: PowerDNS, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command line of a system with two pools, `b` of BIND and `p` of PowerDNS."""
    for name in ("BROKER_URL", "RESULT_URL", "DATABASE_URL", "POOLS"):
        monkeypatch.delenv(f"DNSWORKER_{name}", raising=False)
    monkeypatch.setenv("DNSWORKER_DATA_DIR", str(tmp_path / "data"))
    servers = {"b": ("bind", "bind9", bind), "p": ("pdns", "powerdns", powerdns)}
    pools = [
        {
            "name": name,
            "ns_records": [{"hostname": "ns1.example.net."}],
            "nameservers": [server.nameserver()],
            "targets": [{"name": target, "type": kind, "options": server.target_options()}],
        }
        for name, (target, kind, server) in servers.items()
    ]
    (tmp_path / "pools.yaml").write_text(yaml.safe_dump(pools), encoding="utf-8")

    def invoke(*arguments: str) -> Result:
        result = CliRunner().invoke(cli, list(arguments))
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    assert invoke("db", "upgrade").exit_code == 0
    assert invoke("pool", "apply", str(tmp_path / "pools.yaml")).exit_code == 0
    return invoke


@pytest.fixture
def secret_file(bind: Bind, tmp_path: Path) -> str:
    path = tmp_path / "secret"
    path.write_text(bind.key_secret + "\n", encoding="utf-8")
    return str(path)


def backend_of(kind: str, options: dict[str, Any]) -> Backend:
    target = Target(name="there", type=kind, options=options)
    return load_backend(kind)("there", build_options(target))


@pytest.fixture
def on_bind(bind: Bind) -> Iterator[Backend]:
    backend = backend_of("bind9", bind.target_options())
    yield backend
    backend.close()


@pytest.fixture
def on_powerdns(powerdns: PowerDNS) -> Iterator[Backend]:
    backend = backend_of("powerdns", powerdns.target_options())
    yield backend
    backend.close()


def existing(zone: Name, *more: RRset, serial: int = 2024010101) -> ZoneContents:
    """A zone such as somebody else made it."""
    soa = SOA(
        Name("ns.old.example."), Name("dns\\.admin.old.example."), serial, 7200, 900, 1209600, 60, ttl=1800
    )
    rrsets = [
        RRset(zone, "NS", 86400, ["ns.old.example.", f"ns2.{zone}"]),
        RRset(f"ns2.{zone}", "A", 86400, ["192.0.2.53"]),
        RRset(f"www.{zone}", "A", 300, ["192.0.2.1", "192.0.2.2"]),
        RRset(f"*.{zone}", "TXT", 300, ['"a b" "c"']),
    ]
    return ZoneContents.of(zone, soa, [*rrsets, *more])


def carry_out(zone: Name, target: str) -> dict[str, Any]:
    """What workers do: take in, deliver, ask the nameservers, until the zone is ACTIVE."""
    runtime = Runtime(load_settings(), StubSignals())
    runtime.start()
    try:
        deadline = time.monotonic() + DEADLINE_S
        runtime.take_in()
        while True:
            runtime.deliver(target)
            runtime.sweep()
            shown: dict[str, Any] = runtime.ask("show_zone", {"zone": zone})
            if shown["status"] == "ACTIVE":
                return shown
            assert time.monotonic() < deadline, shown
            time.sleep(0.02)
    finally:
        runtime.stop()


def test_a_zone_is_adopted_from_its_target_without_a_change(run: Run, on_bind: Backend, zone: Name) -> None:
    on_bind.create_zone(existing(zone))
    result = run("zone", "import", zone, "--from-target", "bind", "--no-wait")
    assert result.exit_code == 0, result.output
    shown = carry_out(zone, "bind")
    assert (shown["pool"], shown["serial"], shown["email"]) == ("b", 2024010101, "dns.admin@old.example")
    assert on_bind.read_zone(zone) == existing(zone)


def test_a_zone_is_adopted_from_another_server_over_a_signed_transfer(
    run: Run, bind: Bind, on_bind: Backend, on_powerdns: Backend, zone: Name, secret_file: str
) -> None:
    on_bind.create_zone(existing(zone))
    server = f"{bind.address}:{bind.port}"
    key = ("--tsig-key", bind.key_name, "--tsig-secret-file", secret_file)
    result = run("zone", "import", zone, "--from-server", server, *key, "--pool", "p", "--no-wait", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["status"] == "PENDING"
    carry_out(zone, "pdns")
    assert on_powerdns.read_zone(zone) == existing(zone)


def test_a_move_from_another_server_takes_the_pools_names_when_asked(
    run: Run, powerdns: PowerDNS, on_powerdns: Backend, on_bind: Backend, zone: Name
) -> None:
    on_powerdns.create_zone(existing(zone))
    server = f"{powerdns.address}:{powerdns.port}"
    result = run("zone", "import", zone, "--from-server", server, "--no-adopt", "--pool", "b", "--no-wait")
    assert result.exit_code == 0, result.output
    shown = carry_out(zone, "bind")
    assert shown["serial"] > 2024010101
    now = on_bind.read_zone(zone)
    assert now is not None
    assert (now.soa.mname, now.rrsets[zone, "NS"].data) == ("ns1.example.net.", ("ns1.example.net.",))
    assert now.rrsets[Name(f"www.{zone}"), "A"] == existing(zone).rrsets[Name(f"www.{zone}"), "A"]


def one_line(result: Result, *parts: str) -> None:
    assert (result.exit_code in (1, 2), result.stdout) == (True, ""), result.output
    assert len(result.stderr.splitlines()) == 1, result.stderr
    for part in parts:
        assert part in result.stderr


def test_each_refusal_of_a_server_is_one_clear_line(
    run: Run, bind: Bind, on_bind: Backend, zone: Name, secret_file: str, tmp_path: Path
) -> None:
    on_bind.create_zone(existing(zone))
    server = f"{bind.address}:{bind.port}"

    def told(*arguments: str, name: str = zone, at: str = server) -> Result:
        return run("zone", "import", name, "--from-server", at, *arguments)

    key = ("--tsig-key", bind.key_name, "--tsig-secret-file")
    one_line(told(), "AuthenticationFailed", "refuses to transfer", "give a key with --tsig-key", "REFUSED")
    one_line(told(*key, secret_file, name="absent.test"), "ZoneMissing", "has no zone absent.test.")
    one_line(told(at="127.0.0.1:1"), "Unreachable", "no nameserver at 127.0.0.1:1, TCP: Connection refused")
    one_line(told("--tsig-key", "stranger", "--tsig-secret-file", secret_file), "'stranger'", "BADKEY")
    wrong = tmp_path / "wrong"
    wrong.write_text("d3Jvbmcgd3Jvbmcgd3Jvbmc=", encoding="utf-8")
    one_line(told(*key, str(wrong)), "another secret", "BADSIG")
    wrong.write_text("hunter2", encoding="utf-8")
    result = told(*key, str(wrong))
    one_line(result, "not base64")
    assert "hunter2" not in result.stderr
    one_line(told(*key, str(tmp_path / "nothing")), "No such file")
    one_line(told(*key, secret_file, "--tsig-algorithm", "rot13"), "no TSIG algorithm 'rot13'")
    one_line(told("--tsig-key", "k"), "belong together")
    one_line(told(at="ns1:port"), "no HOST or HOST:PORT")


def test_a_skewed_clock_is_told_with_the_difference(
    run: Run, bind: Bind, zone: Name, secret_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = time.time
    monkeypatch.setattr(time, "time", lambda: ours() - 600)
    key = ("--tsig-key", bind.key_name, "--tsig-secret-file", secret_file)
    result = run("zone", "import", zone, "--from-server", f"{bind.address}:{bind.port}", *key)
    one_line(result, "has another time than this machine: the clocks differ by 6", "its is ahead", "BADTIME")


def test_contents_that_can_not_be_held_are_named(
    run: Run, on_bind: Backend, zone: Name, bind: Bind, secret_file: str
) -> None:
    odd = RRset.trusted(Name(f"www.{zone}"), "SRV", 60, ("0 0 1 ns.old.example.",))
    on_bind.create_zone(existing(zone, odd))
    key = ("--tsig-key", bind.key_name, "--tsig-secret-file", secret_file)
    at_server = run("zone", "import", zone, "--from-server", f"{bind.address}:{bind.port}", *key)
    for result in (at_server, run("zone", "import", zone, "--from-target", "bind")):
        one_line(result, "can't be taken over", f"www.{zone} SRV", "_service._protocol")


def test_targets_that_can_not_be_read_or_lack_the_zone_are_told(
    run: Run, zone: Name, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_line(run("zone", "import", zone, "--from-target", "bnid"), "no target 'bnid'; there are: bind, pdns")
    for target in ("bind", "pdns"):
        one_line(run("zone", "import", zone, "--from-target", target), f"target {target} has no zone {zone}")
    one_line(run("zone", "import", zone), "give one of FILE, --from-server, --from-target")
    one_line(
        run("zone", "import", zone, "--from-target", "bind", "--tsig-key", "k"),
        "--tsig-key is for --from-server",
    )


def test_an_export_replaces_its_file_only_as_a_whole(
    run: Run, on_bind: Backend, zone: Name, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_bind.create_zone(existing(zone))
    run("zone", "import", zone, "--from-target", "bind", "--no-wait")
    carry_out(zone, "bind")
    path = tmp_path / "out" / "zone.db"
    path.parent.mkdir()
    path.write_text("what was there", encoding="utf-8")
    path.chmod(0o640)
    with monkeypatch.context() as broken:
        broken.setattr(
            os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device"))
        )
        one_line(run("zone", "export", zone, "-o", str(path)), "No space left on device")
    assert path.read_text(encoding="utf-8") == "what was there"
    assert run("zone", "export", zone, "-o", str(path)).exit_code == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert list(path.parent.iterdir()) == [path]
    # and what was written is the zone, to the serial
    text = path.read_text(encoding="utf-8")
    assert run("zone", "export", zone).stdout == text
    parsed = zonefile.parse_zone(text, zone, 1)
    assert parsed.soa is not None
    assert ZoneContents.of(zone, parsed.soa, parsed.rrsets) == existing(zone)
    told = json.loads(run("zone", "export", zone, "-o", str(path), "--json").stdout)
    assert told == {"zone": zone, "output": str(path)}
