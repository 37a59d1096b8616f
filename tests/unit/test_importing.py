"""Where an import comes from, and what is told on the way: the parts that need no server."""

from __future__ import annotations

import time
from pathlib import Path

import click
import dns.tsig
import pytest

from dnsworker import tsig
from dnsworker.cli.files import write_whole
from dnsworker.cli.importing import judged, server_address, tsig_key
from dnsworker.cli.progress import Progress, bar
from dnsworker.contents import ZoneContents
from dnsworker.errors import ConfigError, InvalidRecord
from dnsworker.names import Name
from dnsworker.records import SOA, RRset

ZONE = Name("example.org.")
QUIET = Progress("example.org.", is_shown=False)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.1", "192.0.2.1:53"),
        ("192.0.2.1:5353", "192.0.2.1:5353"),
        ("NS1.example.net", "ns1.example.net:53"),
        ("2001:db8::1", "[2001:db8::1]:53"),
        ("[2001:db8::1]", "[2001:db8::1]:53"),
        ("[2001:db8::1]:5353", "[2001:db8::1]:5353"),
    ],
)
def test_servers_are_given_with_or_without_a_port(text: str, address: str) -> None:
    assert server_address(text).address == address


@pytest.mark.parametrize("text", ["", "ns1:", "ns1:dns", "192.0.2.256", "ns1:70000", "a b"])
def test_what_is_no_server_is_a_usage_error(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is no HOST or HOST:PORT"):
        server_address(text)


def test_a_secret_that_is_none_is_not_shown(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("hunter2!", encoding="utf-8")
    with pytest.raises(ConfigError) as refused:
        tsig_key("k", path, "hmac-sha256")
    assert "hunter2" not in str(refused.value)
    path.write_text("c2VjcmV0\n", encoding="utf-8")
    key = tsig_key("k", path, "hmac-sha512")
    assert key is not None
    assert (key.secret, str(key.algorithm)) == (b"secret", "hmac-sha512.")


def zone_with(*rrsets: RRset) -> ZoneContents:
    soa = SOA(Name("ns1.example.net."), Name("a.example.net."), 1)
    return ZoneContents.of(ZONE, soa, [RRset(ZONE, "NS", 60, ["ns1.example.net."]), *rrsets])


def test_contents_that_we_can_hold_pass_unchanged() -> None:
    contents = zone_with(RRset("www.example.org.", "A", 60, ["192.0.2.1"]))
    assert judged(contents, "it", QUIET) == contents


def test_records_that_we_can_not_hold_are_named_a_few_of_them() -> None:
    signatures = [RRset.trusted(Name(f"h{n}.example.org."), "RRSIG", 60, ("x",)) for n in range(7)]
    with pytest.raises(InvalidRecord) as refused:
        judged(zone_with(*signatures), "the zone at ns1", QUIET)
    message = refused.value.message
    assert message.startswith("the zone at ns1 can't be taken over: h0.example.org. RRSIG: RRSIG is never")
    assert message.endswith("; and 2 more")


def test_records_that_can_not_stand_together_are_named() -> None:
    alias = RRset("www.example.org.", "CNAME", 60, ["example.net."])
    address = RRset("www.example.org.", "A", 60, ["192.0.2.1"])
    with pytest.raises(InvalidRecord, match=r"www\.example\.org\. .*a CNAME stands alone"):
        judged(zone_with(alias, address), "it", QUIET)


def test_a_file_keeps_what_was_there_when_writing_breaks_off(tmp_path: Path) -> None:
    path = tmp_path / "zone.db"
    path.write_text("before", encoding="utf-8")

    def pieces() -> object:
        yield "half"
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        write_whole(path, pieces())  # type: ignore[arg-type]
    assert [one.read_text("utf-8") for one in tmp_path.iterdir()] == ["before"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "zone.db")
    write_whole(tmp_path / "link", ["all"])
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "zone.db").read_text("utf-8") == "all"


def test_progress_is_drawn_only_where_it_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    for progress in (Progress("example.org.", is_shown=True), QUIET):
        with progress:
            progress.tell("reading", 0.5)
    err = capsys.readouterr().err
    assert err.count("example.org.  [##########----------]  reading") == 1
    assert err.endswith("\r")  # and the line is gone


def test_a_bar_stays_in_its_bounds() -> None:
    assert bar(-1).count("#") == 0
    assert bar(7) == f"[{'#' * 20}]"


@pytest.mark.parametrize(("offset", "word"), [(600, "ahead"), (-600, "behind")])
def test_the_difference_of_the_clocks_comes_from_the_servers_time(offset: int, word: str) -> None:
    other = (int(time.time()) + offset).to_bytes(6)
    refusal = tsig.refusal("ns1", "k", dns.tsig.PeerBadTime(), other)
    assert word in refusal.message
    assert 595 < int(refusal.message.split("differ by ")[1].split()[0]) < 605
    assert "compare the clocks" in tsig.refusal("ns1", "k", dns.tsig.PeerBadTime()).message
