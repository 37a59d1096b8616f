"""What is read of messages as they come from the network, at the edges of them."""

from __future__ import annotations

import struct

import dns.exception
import pytest

from dnsworker.wire import Message, Record

HEADER = struct.pack(">HHHHHH", 1, 0x8400, 0, 1, 0, 0)
CNAME = 5


def cname(owner: bytes, target: bytes) -> Message:
    return Message(HEADER + owner + struct.pack(">HHIH", CNAME, 1, 60, len(target)) + target)


@pytest.mark.parametrize(
    ("target", "name"),
    [
        (b"\0", "."),
        (b"\1b\0", "b."),
        (b"\1b\xc0\x0c", "b.a.example."),
        (b"\1b\xc0\x0e", "b.example."),
        (b"\xc0\x0c", "a.example."),
        (b"\1.\xc0\x0e", r"\..example."),
    ],
)
def test_a_name_is_read_at_the_very_end_of_a_message(target: bytes, name: str) -> None:
    (record,) = cname(b"\1a\7example\0", target).records()
    assert record == Record("a.example.", CNAME, 60, name, record.order)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "target", [b"", b"\1", b"\1b", b"\2b", b"\1b\xc0", b"\1b\1", b"\xc0\xff", b"\x40b\0"]
)
def test_a_name_that_ends_too_soon_is_no_name(target: bytes) -> None:
    with pytest.raises(dns.exception.FormError):
        list(cname(b"\1a\7example\0", target).records())
