"""Who may see the status page: HTTP Basic authentication (RFC 7617) against one login of the settings.

Separate so that everything that touches the password can be read in one place.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress

from dnsworker.errors import ConfigError

SHORTEST_PASSWORD = 8
CHALLENGE = 'Basic realm="dnsworker", charset="UTF-8"'


class Login:
    """One user and password. It is never shown, and kept as a digest alone."""

    def __init__(self, text: str) -> None:
        """`text` is `user:password`. Raises `ConfigError`."""
        user, colon, password = text.partition(":")
        if not user or not colon:
            raise ConfigError("DNSWORKER_DASHBOARD_AUTH must be user:password, with a colon between them")
        if len(password) < SHORTEST_PASSWORD:
            raise ConfigError(
                f"DNSWORKER_DASHBOARD_AUTH: the password must have at least {SHORTEST_PASSWORD} characters"
            )
        self._digest = _digest(text.encode())

    def fits(self, authorization: str | None) -> bool:
        """Whether that is the value of an `Authorization` header with this login."""
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "basic":
            return False
        try:
            given = base64.b64decode(token.strip(), validate=True)
        except (binascii.Error, ValueError):
            return False
        # Digests are of one length, and are compared in a time that tells nothing.
        return hmac.compare_digest(_digest(given), self._digest)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens there."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _digest(text: bytes) -> bytes:
    return hashlib.sha256(text).digest()
