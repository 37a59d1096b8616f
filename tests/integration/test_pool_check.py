"""`dnsworker pool check` against a real BIND and PowerDNS: whatever is wrong is one line that says so."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
import yaml
from click.testing import CliRunner

from backends.builtin import BuiltinBackend
from dev.servers import Bind, Knot, PowerDNS
from dev.servers.ports import claim_port, release_port
from dnsworker.capabilities import Capabilities
from dnsworker.cli import cli
from dnsworker.operations import Outcome
from dnsworker.runtime import Runtime
from dnsworker.settings import load_settings
from tests.stubserver import StubNameserver

DEADLINE_S = 60
Pools = list[dict[str, Any]]
#: Checks pools and returns its exit code, and the findings that aren't ok as (name, message).
Check = Callable[..., tuple[int, list[tuple[str, str]]]]
_numbers = itertools.count(1)


class StubSignals:
    """Nobody is woken and nobody is told: the test does both by hand."""

    def wake_delivery(self, target: str) -> None: ...
    def publish_outcomes(self, outcomes: Sequence[Outcome]) -> None: ...


def run(*arguments: str) -> Any:
    result = CliRunner().invoke(cli, [*arguments, "--json"])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.stdout, result.stderr
    return result.exit_code, json.loads(result.stdout)


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Check:
    """With a file of pools; without one it checks the pools as applied."""
    for name in ("BROKER_URL", "RESULT_URL", "DATABASE_URL", "POOLS"):
        monkeypatch.delenv(f"DNSWORKER_{name}", raising=False)
    monkeypatch.setenv("DNSWORKER_DATA_DIR", str(tmp_path / "data"))

    def invoke(pools: Pools | None = None) -> tuple[int, list[tuple[str, str]]]:
        file = [] if pools is None else [write(tmp_path, pools)]
        code, told = run("pool", "check", *file)
        assert told["ok"] == (code == 0)
        return code, [(one["name"], one["message"]) for one in told["checks"] if not one["ok"]]

    return invoke


def write(folder: Path, pools: Pools) -> str:
    (folder / "pools.yaml").write_text(yaml.safe_dump(pools), encoding="utf-8")
    return str(folder / "pools.yaml")


def target_of(name: str, server: Bind | PowerDNS, **options: Any) -> dict[str, Any]:
    kind = "bind9" if isinstance(server, Bind) else "powerdns"
    return {"name": name, "type": kind, "options": server.target_options() | options}


def pool_of(*targets: dict[str, Any], name: str = "default", **more: Any) -> dict[str, Any]:
    ns_records = [{"hostname": "ns1.example.net."}]
    return {"name": name, "ns_records": ns_records, "targets": list(targets), **more}


def keyed(bind: Bind) -> dict[str, Any]:
    """BIND as a nameserver that is asked with its key."""
    return bind.nameserver() | {"tsig_key": f"hmac-sha256:{bind.key_name}:{bind.key_secret}"}


@pytest.fixture
def system(check: Check, tmp_path: Path) -> Callable[[Pools], None]:
    """Applies pools to a database."""

    def apply(pools: Pools) -> None:
        assert run("db", "upgrade")[0] == 0
        assert run("pool", "apply", write(tmp_path, pools))[0] == 0

    return apply


@pytest.fixture
def zone() -> str:
    return f"check{next(_numbers)}.test."


def make(zone: str, pool: str, *targets: str, records: int = 0) -> None:
    """A zone that is out, with that many A records and one LOC."""
    text = "@ LOC 52 22 23 N 4 53 32 E -2m\n" + "".join(f"h{n} A 192.0.2.{n}\n" for n in range(records))
    arguments = {"zone": zone, "pool": pool, "text": text}
    runtime = Runtime(load_settings(), StubSignals())
    runtime.start()
    try:
        outcome = runtime.receive(f"{zone}-{pool}", "import_zone", arguments, None)
        assert outcome.code is None, outcome
        deadline = time.monotonic() + DEADLINE_S
        while runtime.ask("show_zone", {"zone": zone, "pool": pool})["status"] != "ACTIVE":
            assert time.monotonic() < deadline
            for target in targets:
                runtime.deliver(target)
            runtime.sweep()
            time.sleep(0.02)
    finally:
        runtime.stop()


def test_good_servers_are_good(check: Check, bind: Bind, powerdns: PowerDNS) -> None:
    targets = target_of("b", bind), target_of("p", powerdns)
    assert check([pool_of(*targets, nameservers=[keyed(bind), powerdns.nameserver()])]) == (0, [])


def test_keys_and_passwords_that_are_refused_are_told(check: Check, bind: Bind, powerdns: PowerDNS) -> None:
    other = "d3Jvbmcgd3Jvbmcgd3Jvbmc="
    targets = (
        target_of("secret", bind, tsig_key_secret=other),
        target_of("name", bind, tsig_key_name="stranger", view="a"),
        target_of("rndc", bind, rndc_key_secret=other, view="b"),
        target_of("api", powerdns, api_key="wrong"),
    )
    nameserver = bind.nameserver() | {"tsig_key": f"hmac-sha256:{bind.key_name}:{other}"}
    code, found = check([pool_of(*targets, nameservers=[nameserver])])
    said = dict(found)
    assert code == 1
    assert "has another secret for the TSIG key 'dnsworker' (BADSIG)" in said["secret"]
    assert "doesn't know the TSIG key 'stranger'" in said["name"]
    assert "doesn't accept our key" in said["rndc"]
    assert "401" in said["api"]
    assert "BADSIG" in said[f"{bind.address}:{bind.port}"]
    assert len(found) == 5
    assert other not in str(found)


def test_servers_that_nobody_reaches_are_told(check: Check, bind: Bind, powerdns: PowerDNS) -> None:
    port = claim_port()
    targets = (
        target_of("dns", bind, port=port),
        target_of("rndc", bind, rndc_port=port),
        target_of("api", powerdns, api_url=f"http://127.0.0.1:{port}"),
    )
    code, found = check([pool_of(*targets, nameservers=[{"host": "127.0.0.1", "port": port}])])
    release_port(port)
    assert code == 1
    assert [name for name, _ in found] == ["dns", "rndc", "api", f"127.0.0.1:{port}"]
    assert all("refused" in message for _, message in found), found


@pytest.mark.parametrize("seconds", [-600, 600])
def test_clocks_that_are_too_far_apart_are_told_with_the_difference(
    check: Check, bind: Bind, monkeypatch: pytest.MonkeyPatch, seconds: int
) -> None:
    ours = time.time
    monkeypatch.setattr(time, "time", lambda: ours() + seconds)
    code, found = check([pool_of(target_of("b", bind), nameservers=[keyed(bind)])])
    assert (code, [name for name, _ in found]) == (1, ["b", f"{bind.address}:{bind.port}"])
    for _, message in found:
        assert "the clocks differ by " in message
        assert 590 < int(message.split("differ by ")[1].split(" s")[0]) < 610
        assert ("ahead" if seconds < 0 else "behind") in message


def test_clocks_that_drift_apart_are_told_before_it_is_too_late(
    check: Check, bind: Bind, powerdns: PowerDNS, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = time.time
    monkeypatch.setattr(time, "time", lambda: ours() - 200)
    code, found = check([pool_of(target_of("p", powerdns), nameservers=[keyed(bind)])])
    assert (code, len(found)) == (1, 1)
    assert "from 300 s on signatures are refused" in found[0][1]


def test_one_server_twice_in_a_pool_is_told(check: Check, bind: Bind, powerdns: PowerDNS) -> None:
    targets = [target_of(name, server) for server in (bind, powerdns) for name in ("a", "b")]
    for number, target in enumerate(targets):
        target["name"] += str(number)
    code, found = check([pool_of(*targets)])
    assert (code, [name for name, _ in found]) == (1, ["a0", "a2"])
    assert f"writes to the same server and view as b1 ({bind.address}:{bind.port}): remove one" in found[0][1]
    targets[1]["options"]["view"] = "outside"
    # That this named has no such view is another matter, and told of the target.
    ((name, message),) = check([pool_of(*targets[:2])])[1]
    assert (name, "no matching view found for 'outside'" in message) == ("b1", True)


def test_two_pools_that_write_one_zone_to_one_server_are_told(
    check: Check, system: Callable[[Pools], None], powerdns: PowerDNS, zone: str
) -> None:
    pools = [pool_of(target_of(name, powerdns), name=name) for name in ("one", "two")]
    system(pools)
    make(zone, "one", "one")
    assert check() == (0, []), "one server for two pools is well, as long as their zones differ"
    make(zone, "two", "two")
    code, found = check()
    assert (code, [name for name, _ in found]) == (1, ["one"])
    assert f"writes {zone} to the same server and view as two of pool two" in found[0][1]
    # the other pool needn't be in the file
    assert check(pools[:1])[1] == found


def test_two_pools_that_write_one_zone_to_one_knot_or_folder_are_told(
    check: Check, system: Callable[[Pools], None], knot: Knot, zone: str, tmp_path: Path
) -> None:
    """Knot once by its control socket, and once as any server with updates."""
    folder = tmp_path / "zones"
    folder.mkdir()
    (tmp_path / "link").symlink_to("zones")
    one = [
        {"name": "knot1", "type": "knot", "options": knot.target_options()},
        {"name": "files1", "type": "zonefile", "options": {"folder": str(folder)}},
    ]
    two = [
        {"name": "knot2", "type": "rfc2136", "options": knot.key_options()},
        {"name": "files2", "type": "zonefile", "options": {"folder": str(tmp_path / "link")}},
    ]
    system([pool_of(*one, name="one"), pool_of(*two, name="two")])
    make(zone, "one", "knot1", "files1")
    assert check() == (0, [])
    make(zone, "two", "knot2", "files2")
    code, found = check()
    said = dict(found)
    where = f"({knot.address}:{knot.port})"
    assert (code, len(found)) == (1, 2)
    assert f"writes {zone} to the same server and view as knot2 of pool two {where}" in said["knot1"]
    assert f"writes {zone} to the same folder as files2 of pool two ({folder} .zone)" in said["files1"]
    assert said["files1"].endswith("delete them in one pool, or give each a folder")


def test_what_a_target_can_not_hold_is_told_with_an_example(
    check: Check, system: Callable[[Pools], None], zone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    system([pool_of({"name": "served", "type": "builtin"})])
    make(zone, "default", "served", records=3)
    assert check() == (0, [])
    small = Capabilities(types=frozenset({"A", "NS"}), max_zones=0, max_rrsets=4)
    monkeypatch.setattr(BuiltinBackend, "capabilities", small)
    code, found = check()
    assert (code, {name for name, _ in found}) == (1, {"served"})
    types, zones, rrsets = (message for _, message in found)
    assert f"can't hold LOC records, and 1 zone of the pool has some, such as {zone}: delete them" in types
    assert "can hold 0 zones, and the pool has 1: make a second pool" in zones
    assert f"can hold 4 RRsets in a zone, and {zone} has 5: move it" in rrsets


def test_an_import_that_a_target_can_not_hold_names_the_record(
    system: Callable[[Pools], None], zone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    system([pool_of({"name": "served", "type": "builtin"})])
    monkeypatch.setattr(BuiltinBackend, "capabilities", Capabilities(types=frozenset({"A", "NS"})))
    runtime = Runtime(load_settings(), StubSignals())
    runtime.start()
    try:
        outcome = runtime.receive(
            "id", "import_zone", {"zone": zone, "text": "www A 192.0.2.1\nx TXT a"}, None
        )
    finally:
        runtime.stop()
    said = f"x.{zone} TXT: target served (builtin) can't hold records of type TXT"
    assert (outcome.code, outcome.message) == ("InvalidRecord", said)


@pytest.fixture
def filled(system: Callable[[Pools], None], bind: Bind, zone: str) -> dict[str, Any]:
    """A pool with one zone, out on BIND."""
    pool = pool_of(target_of("b", bind))
    system([pool])
    make(zone, "default", "b")
    return pool


def test_a_nameserver_without_the_pools_zones_is_told(
    check: Check, filled: dict[str, Any], bind: Bind, powerdns: PowerDNS, zone: str
) -> None:
    assert check([filled | {"nameservers": [bind.nameserver()]}]) == (0, [])
    code, found = check([filled | {"nameservers": [powerdns.nameserver() | {"target": "b"}]}])
    assert code == 1
    ((_, message),) = found
    assert f"serves none of the pool's zones (asked for 1; {zone}: REFUSED)" in message
    assert "does it have its zones from b?" in message


def test_a_nameserver_that_lacks_some_zones_is_told(
    check: Check, filled: dict[str, Any], powerdns: PowerDNS, zone: str
) -> None:
    make("both.test.", "default", "b")
    powerdns.api(
        "POST", "/zones", {"name": "both.test.", "kind": "Native", "nameservers": ["ns1.example.net."]}
    )
    _, found = check([filled | {"nameservers": [powerdns.nameserver()]}])
    assert [f"doesn't serve {zone} (REFUSED); 1 of 2" in message for _, message in found] == [True]


@pytest.fixture
def recursive() -> Iterator[Bind]:
    with Bind(options="recursion yes; allow-recursion { any; };") as server:
        yield server


def test_a_nameserver_that_recurses_is_told(check: Check, recursive: Bind) -> None:
    code, found = check([pool_of(target_of("b", recursive), nameservers=[recursive.nameserver()])])
    assert (code, len(found)) == (1, 1)
    assert "offers recursion to us (RA): turn it off there" in found[0][1]


def test_a_cache_is_not_taken_for_a_nameserver(check: Check, filled: dict[str, Any], zone: str) -> None:
    def reply(query: dns.message.QueryMessage) -> dns.message.Message:
        response = dns.message.make_response(query)
        response.flags &= ~dns.flags.AA
        soa = "ns1.example.net. a.example.net. 1 2 3 4 5"
        response.answer.append(dns.rrset.from_text(query.question[0].name, 60, "IN", "SOA", soa))
        return response

    with StubNameserver(reply) as stub:
        _, found = check([filled | {"nameservers": [{"host": "127.0.0.1", "port": stub.port}]}])
    assert [f"answers for {zone} without authority" in message for _, message in found] == [True]


def test_a_silent_nameserver_is_told(check: Check, bind: Bind) -> None:
    with StubNameserver(lambda query: None) as stub:
        nameservers = [{"host": "127.0.0.1", "port": stub.port}]
        _, found = check([pool_of(target_of("b", bind), nameservers=nameservers)])
    assert [message for _, message in found] == [
        "no answer over UDP within 2 s: is it running, and let through?"
    ]


def test_without_a_database_the_file_is_checked_and_the_rest_noted(
    check: Check, bind: Bind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path, [pool_of(target_of("b", bind))])
    code, told = run("pool", "check", file)
    assert (code, len(told["checks"])) == (0, 1)
    assert "what the zones hold is not looked at: no dnsworker in" in told["notes"][0]
    monkeypatch.setenv("DNSWORKER_DATABASE_URL", "postgresql://dns:hunter2@127.0.0.1:1/dns")
    code, told = run("pool", "check", file)
    assert (code, "refused" in told["notes"][0], "hunter2" in str(told)) == (0, True, False)
