"""The inputs that fuzzing has found worth keeping: one file for each target, one input in base64 a line."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path

import dns.message
import dns.update

from tests.fuzz.targets import TASKS, TYPES
from tests.samples import SAMPLES

FOLDER = Path(__file__).with_name("corpus")
#: More are not kept: each is run by every `make test`.
MOST = 200


def load(target: str) -> list[bytes]:
    """What was kept, and what there is to begin with."""
    path = FOLDER / f"{target}.txt"
    kept = path.read_text("ascii").split() if path.exists() else []
    return [*seeds(target), *map(base64.b64decode, kept)]


def save(target: str, inputs: list[bytes]) -> int:
    """The shortest of them, sorted; returns how many."""
    known = set(seeds(target))
    chosen = sorted(set(inputs) - known, key=lambda octets: (len(octets), octets))[:MOST]
    FOLDER.mkdir(exist_ok=True)
    lines = "".join(base64.b64encode(octets).decode() + "\n" for octets in chosen)
    (FOLDER / f"{target}.txt").write_text(lines, "ascii")
    return len(chosen)


def seeds(target: str) -> list[bytes]:
    """Valid inputs to begin with, made of the samples."""
    return SEEDS[target]()


def _envelopes() -> list[bytes]:
    arguments = {
        "zone": "example.org", "name": "www", "type": "A", "data": ["192.0.2.1"], "ttl": 60,
        "email": "a@example.org", "text": "@ 60 IN SOA a. b. 1 2 3 4 5\n", "serial": 1, "id": "1",
        "changes": [{"action": "put", "name": "a", "type": "TXT", "data": ['"x"']}],
        "order": {"client": "c", "number": 2, "skips": [1]}, "force": True,
    }  # fmt: skip
    zone = {"zone": "example.org"}
    bodies = [zone, arguments, *(zone | {name: value} for name, value in arguments.items())]
    return [
        bytes([number]) + json.dumps([[], body, {}]).encode()
        for number in range(len(TASKS))
        for body in bodies
    ]


def _names() -> list[bytes]:
    words = r"@ www *.a example.org a.example.org. bücher.de a\.b.c. \255 _x._y"
    return [word.encode() for word in words.split()]


def _rdata() -> list[bytes]:
    return [
        bytes([TYPES.index(type_)]) + "\0".join(data).encode()
        for type_, forms in SAMPLES.items()
        for _, data in forms
    ]


def _lines() -> list[str]:
    """One record of each type, relative to a zone."""
    return [f"{owner} 60 IN {type_} {data[0]}\n" for type_, ((owner, data), *_) in SAMPLES.items()]


def _zonefiles() -> list[bytes]:
    head = "$ORIGIN example.org.\n$TTL 1h\n@ IN SOA a b ( 1 2 3\n 4 5 ) ; comment\n"
    return [(head + text).encode() for text in ("", "".join(_lines()), *_lines())]


def _queries() -> list[bytes]:
    asked = [
        dns.message.make_query(f"{name}example.org.", type_, id=1, use_edns=edns)
        for name in ("", "www.", "x.wild.", "alias.", "a.tree.", "b.cut.", "big.")
        for type_ in ("A", "SOA", "ANY", "AXFR", "IXFR", "DS", "TXT")
        for edns in (False, 0)
    ]
    return [each.to_wire() for each in (*asked, dns.update.UpdateMessage("example.org.", id=1))]


def _answers() -> list[bytes]:
    head = "id 0\nopcode QUERY\nrcode NOERROR\nflags QR AA\n;QUESTION\nexample.org. IN SOA\n;ANSWER\n"
    soa = "example.org. 60 IN SOA a. b. 1 2 3 4 5\n"
    lines = [line.replace(" 60 ", ".example.org. 60 ", 1) for line in _lines()]
    return [dns.message.from_text(head + soa + line).to_wire() for line in ("", *lines)]


def _knot() -> list[bytes]:
    """A block of nothing, and one that says `no`."""
    return [bytes([1, 3]), bytes([2, 0x10, 0, 2]) + b"no" + bytes([3])]


SEEDS: dict[str, Callable[[], list[bytes]]] = {
    "envelope": _envelopes,
    "name": _names,
    "rdata": _rdata,
    "zonefile": _zonefiles,
    "query": _queries,
    "answer": _answers,
    "knot": _knot,
}
