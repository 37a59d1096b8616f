"""TSIG (RFC 8945): messages signed, and answers believed or not.

Separate from the connection, because the first transfer of a new zone to BIND signs the other way round.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dns.exception
import dns.name
import dns.rcode
import dns.rdatatype
import dns.tsig
from dns.rdtypes.ANY.TSIG import TSIG

from dnsworker import tsig
from dnsworker.errors import AuthenticationFailed, ServerFailure, Unsupported
from dnsworker.wire import ANY, Message

MAX_MESSAGE_BYTES = 65535  # RFC 1035, section 4.2.2
FUDGE_S = 300  # RFC 8945, section 10: how far the clocks may be apart

#: What would be acted upon. A server that can't read a request refuses it unsigned, and that changes nothing;
#: but that a zone is absent (NOTAUTH) must come from the server itself.
_BELIEVED_ONLY_SIGNED = (dns.rcode.NOERROR, dns.rcode.NXRRSET, dns.rcode.NXDOMAIN, dns.rcode.NOTAUTH)

_ID = struct.Struct(">H")
_RECORD = struct.Struct(">HHIH")


class TsigKey:
    """A name, a secret and an algorithm. Its repr shows no secret."""

    def __init__(self, name: str, secret_base64: str, algorithm: str) -> None:
        self.key = dns.tsig.Key(dns.name.from_text(name), secret_base64, dns.name.from_text(algorithm))
        self.ring = {self.key.name: self.key}
        self._owner = self.key.name.to_wire() or b""

    def __repr__(self) -> str:
        return f"TsigKey({self.name})"

    def sign(
        self, wire: bytes, *, request_mac: bytes = b"", context: Any = None, is_part: bool = False
    ) -> tuple[bytes, bytes, Any]:
        """The message with its signature at the end, the MAC, and what the next part of a transfer needs.

        Raises `Unsupported` when the message is too long.
        """
        (message_id,) = _ID.unpack_from(wire)
        (additionals,) = _ID.unpack_from(wire, 10)
        blank = TSIG(  # type: ignore[no-untyped-call]
            ANY, dns.rdatatype.TSIG, self.key.algorithm, 0, FUDGE_S, b"", message_id, 0, b""
        )
        signed_data, context = dns.tsig.sign(  # type: ignore[no-untyped-call]
            wire, self.key, blank, int(time.time()), request_mac, context, is_part
        )
        data = signed_data.to_wire()
        signature = self._owner + _RECORD.pack(dns.rdatatype.TSIG, ANY, 0, len(data)) + data
        signed = wire[:10] + _ID.pack(additionals + 1) + wire[12:] + signature
        if len(signed) > MAX_MESSAGE_BYTES:
            raise Unsupported("the request doesn't fit into one DNS message of 65,535 bytes")
        return signed, signed_data.mac, context

    @property
    def name(self) -> str:
        return self.key.name.to_text(omit_final_dot=True)


class Verifier:
    """Checks the signatures of an answer; in a transfer one may cover several messages (section 5.3.1)."""

    def __init__(
        self,
        key: TsigKey,
        where: str,
        request_mac: bytes,
        *,
        is_transfer: bool,
        takes_unsigned_absence: bool = False,
    ) -> None:
        """`where` names the server in errors."""
        self._key = key
        self._where = where
        self._mac = request_mac
        self._is_transfer = is_transfer
        self._takes_unsigned = (dns.rcode.NOTAUTH,) if takes_unsigned_absence else ()
        self._context: Any = None
        #: All messages up to the last one are now known to be the server's.
        self.has_proven = False

    def read(self, wire: bytes) -> Message:
        """The message. Raises `AuthenticationFailed`, and `ServerFailure` when it can't be read."""
        try:
            message = Message(wire)
            signature = message.tsig()
            if signature is not None:
                data: Any = signature[2]
                with _tsig_errors(self._where, self._key.name, data.other):
                    self._validate(wire, *signature)
                self.has_proven = True
                return message
        except dns.exception.FormError as exc:
            raise ServerFailure(f"{self._where} sent an answer that can't be read: {exc}") from exc
        if self._context is not None:
            self._context.update(wire)
            self.has_proven = False
        elif message.rcode in _BELIEVED_ONLY_SIGNED and message.rcode not in self._takes_unsigned:
            raise AuthenticationFailed(f"{self._where} sent an unsigned answer to a signed request")
        else:
            self.has_proven = True
        return message

    def _validate(self, wire: bytes, start: int, owner: dns.name.Name, data: Any) -> None:
        key, now = self._key.key, int(time.time())
        self._context = dns.tsig.validate(  # type: ignore[no-untyped-call]
            wire, key, owner, data, now, self._mac, start, self._context, self._is_transfer
        )


@contextmanager
def _tsig_errors(where: str, key: str, other: bytes) -> Iterator[None]:
    """Says in words which part failed; `other` is the other data of the answer's TSIG."""
    try:
        yield
    except tsig.ERRORS as exc:
        raise tsig.refusal(where, key, exc, other) from exc
