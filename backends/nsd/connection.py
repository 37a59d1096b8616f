"""Connections to NSD for queries and transfers: with a key or without, and what NSD doesn't sign.

Separate from the backend, which doesn't care which of them it has.
"""

from __future__ import annotations

import base64
from collections.abc import Callable

import dns.exception
import dns.rcode

from backends.dns_connection import DNSConnection
from backends.dns_tsig import TsigKey, Verifier
from backends.dns_unsigned import UnsignedConnection
from backends.nsd.options import NsdOptions
from dnsworker.errors import ServerFailure, ZoneMissing
from dnsworker.wire import Message


class SignedConnection(DNSConnection):
    """As `DNSConnection`, but takes an unsigned NOTAUTH for what it is.

    NSD signs none for a zone that it doesn't serve, whatever the key (4.6.1). That it hasn't got the zone is
    asked over the control socket all the same.
    """

    def _read(self, verifier: Verifier, wire: bytes, request: bytes) -> Message:
        try:
            message = Message(wire)
            is_unsigned = message.tsig() is None
        except dns.exception.FormError as exc:
            self.close()
            raise ServerFailure(f"{self.address} sent an answer that can't be read: {exc}") from exc
        if message.rcode == dns.rcode.NOTAUTH and is_unsigned and wire[:2] == request[:2]:
            self.close()
            raise ZoneMissing(f"{self.address} doesn't serve the zone (NOTAUTH)")
        return super()._read(verifier, wire, request)


def connect(options: NsdOptions, timeout_s: float, announce: Callable[[], None]) -> DNSConnection:
    """Opened when first needed; `announce` as in `DNSConnection`.

    Raises `ConfigError` for a key that can't be read.
    """
    if options.tsig_key is None:
        return UnsignedConnection(options.host, options.port, timeout_s=timeout_s, announce=announce)
    key = options.tsig_key.to_dnspython()
    secret = base64.b64encode(key.secret).decode()
    signing = TsigKey(key.name.to_text(), secret, key.algorithm.to_text())
    return SignedConnection(options.host, options.port, signing, timeout_s=timeout_s, announce=announce)
