"""What it means that a server refuses a signature (TSIG, RFC 8945), in words that say what to do.

Separate because backends, imports and `pool check` meet it, each on connections of its own.
"""

from __future__ import annotations

import time

import dns.exception
import dns.tsig

from dnsworker.errors import AuthenticationFailed

#: What dnspython raises for an answer that is refused, or not signed as it must be.
ERRORS = (
    dns.tsig.PeerError, dns.tsig.BadTime, dns.tsig.BadSignature, dns.tsig.BadKey, dns.tsig.BadAlgorithm,
)  # fmt: skip


def refusal(
    where: str, key: str, error: dns.exception.DNSException, other: bytes = b""
) -> AuthenticationFailed:
    """One of `ERRORS` as ours. `other`: the "other data" of the answer's TSIG, as far as there was one."""
    if isinstance(error, dns.tsig.PeerBadKey):
        words = f"{where} doesn't know the TSIG key {key!r}: compare name and algorithm (BADKEY)"
    elif isinstance(error, dns.tsig.PeerBadSignature):
        words = f"{where} has another secret for the TSIG key {key!r} (BADSIG)"
    elif isinstance(error, dns.tsig.PeerBadTime):
        words = f"{where} has another time than this machine: {difference(other)} (BADTIME)"
    elif isinstance(error, dns.tsig.PeerError):
        words = f"{where} refuses the TSIG key {key!r}: {error}"
    else:
        words = f"the answer of {where} is not signed rightly with the TSIG key {key!r}"
    return AuthenticationFailed(words)


def difference(other: bytes) -> str:
    """How far a server's clock is from ours; `other` is the time that it gives (RFC 8945, section 5.2.3)."""
    if len(other) != 6:
        return "compare the clocks"
    ahead_s = int.from_bytes(other) - int(time.time())
    return f"the clocks differ by {abs(ahead_s)} s, its is {'ahead' if ahead_s > 0 else 'behind'}; set them"
