"""The `zonefile` backend's names of files, its options, and what it writes into a file."""

from __future__ import annotations

import difflib
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from backends.zonefile import BACKEND
from backends.zonefile.backend import PLAIN_TYPES
from backends.zonefile.folder import file_name
from dnsworker import names
from dnsworker.contents import ZoneContents
from dnsworker.names import Name
from dnsworker.records import SOA, RRset
from dnsworker.zonefile import zone_text

ZONE = Name("example.org.")

LABELS = st.lists(st.binary(min_size=1, max_size=63), min_size=1, max_size=3)


@pytest.mark.parametrize(
    ("zone", "expected"),
    [
        ("example.org.", "example.org.zone"),
        ("0/25.2.0.192.in-addr.arpa.", "0%2f25.2.0.192.in-addr.arpa.zone"),
        (r"\..\.\..example.", "%5c..%5c.%5c..example.zone"),
        (r"a\;b$.example.", "a%5c;b%24.example.zone".replace(";", "%3b")),
        ("xn--bcher-kva.example.", "xn--bcher-kva.example.zone"),
    ],
)
def test_a_zone_has_a_file_that_one_finds(zone: str, expected: str) -> None:
    assert file_name(Name(zone), ".zone") == expected


@given(LABELS, LABELS)
def test_no_two_zones_share_a_file_and_none_leaves_the_folder(one: list[bytes], other: list[bytes]) -> None:
    zones = [names.from_dnspython(names.dns.name.Name((*labels, b""))) for labels in (one, other)]
    files = [file_name(zone, ".zone") for zone in zones]
    assert (files[0] == files[1]) == (zones[0] == zones[1])
    for file in files:
        assert os.path.basename(file) == file
        assert file.isascii()
        assert not file.startswith(".")
        assert len(f".{file}.lock") <= 255
        assert file == file.lower()


def test_a_name_too_long_for_a_file_keeps_its_beginning() -> None:
    zone = Name(".".join(["/" * 60] * 4) + ".")
    assert file_name(zone, ".zone").startswith("%2f%2f")
    assert "~" in file_name(zone, ".zone")
    assert file_name(zone, ".zone") != file_name(Name("x" + zone[1:]), ".zone")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "folder"),
        ({"folder": "zones"}, "must be absolute"),
        ({"folder": "/zones", "suffix": "/../x"}, "no end of a file name"),
        ({"folder": "/zones", "reload_command": "rndc reload"}, "tuple"),
        ({"folder": "/zones", "reload_command": ["rndc", "{zoen}"]}, r"no \{zoen\}"),
        ({"folder": "/zones", "reload_command": ["{file}"]}, "is a program"),
        ({"folder": "/zones", "check_command": [""]}, "is a program"),
        ({"folder": "/zones", "command_timeout_s": 0}, "greater than 0"),
    ],
)
def test_options_that_cannot_work_are_refused(options: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        BACKEND.options_model.model_validate(options)


def _contents(*rrsets: RRset, serial: int = 7) -> ZoneContents:
    soa = SOA(Name("ns1.example.net."), Name("hostmaster.example.net."), serial)
    ns = RRset(ZONE, "NS", 3600, ["ns2.example.net.", "ns1.example.net."])
    return ZoneContents.of(ZONE, soa, [*rrsets, ns])


def test_a_file_is_in_order_one_record_a_line_and_unknown_types_as_every_server_reads_them() -> None:
    zone = _contents(
        RRset("b.example.org.", "A", 60, ["192.0.2.2", "192.0.2.1"]),
        RRset("x.a.example.org.", "TYPE65280", 60, ["\\# 2 abcd"]),
        RRset("a.example.org.", "WALLET", 60, ['"ETH" "0x01"']),
        RRset("example.org.", "MX", 60, ["10 mx.example.net."]),
    )
    assert zone_text(zone, plain_types=PLAIN_TYPES) == (
        "example.org.\t3600\tIN\tSOA\tns1.example.net. hostmaster.example.net. 7 3600 600 86400 3600\n"
        "example.org.\t3600\tIN\tNS\tns1.example.net.\n"
        "example.org.\t3600\tIN\tNS\tns2.example.net.\n"
        "example.org.\t60\tIN\tMX\t10 mx.example.net.\n"
        'a.example.org.\t60\tIN\tTYPE262\t\\# 9 034554480430783031\t; WALLET "ETH" "0x01"\n'
        "x.a.example.org.\t60\tIN\tTYPE65280\t\\# 2 abcd\n"
        "b.example.org.\t60\tIN\tA\t192.0.2.1\n"
        "b.example.org.\t60\tIN\tA\t192.0.2.2\n"
    )


def test_a_changed_record_is_a_changed_line() -> None:
    hosts = [RRset(f"h{number}.example.org.", "A", 60, ["192.0.2.1"]) for number in range(50)]
    changed = [*reversed(hosts[1:]), RRset("h0.example.org.", "A", 60, ["192.0.2.2"])]
    texts = [
        zone_text(_contents(*rrsets, serial=serial), plain_types=PLAIN_TYPES).splitlines()
        for rrsets, serial in ((hosts, 7), (changed, 8))
    ]
    lines = [
        line
        for line in difflib.unified_diff(*texts, n=0)
        if line[0] in "+-" and line[:3] not in ("+++", "---")
    ]
    assert [line[0] + line.split("\t")[0][1:] for line in lines] == [
        "-example.org.", "+example.org.", "-h0.example.org.", "+h0.example.org.",
    ]  # fmt: skip
