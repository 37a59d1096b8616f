"""Whether a request would change something, told by its octets: so a proxy knows which answers to lose."""

from __future__ import annotations

import dns.opcode


def has_update(request: bytes) -> bool:
    """Over TCP: two bytes of length, two of id, then the flags with the opcode."""
    return len(request) > 4 and (request[4] >> 3) & 15 == dns.opcode.UPDATE


def changes_zones(request: bytes) -> bool:
    """Of rndc: a command that changes something, after the `null` that fetches a nonce."""
    return any(word in request for word in (b"addzone", b"modzone", b"delzone"))


def commits(request: bytes) -> bool:
    """Of Knot's control protocol."""
    return b"conf-commit" in request or b"zone-commit" in request


def is_http_write(request: bytes) -> bool:
    return request.startswith((b"PATCH ", b"POST ", b"PUT ", b"DELETE "))
