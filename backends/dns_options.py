"""What the options of several backends consist of: TSIG keys and ports, checked when pools.yaml is loaded."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated

import dns.exception
import dns.name
from pydantic import AfterValidator, Field, SecretStr

from dnsworker.backend import Options

#: What dnspython signs with and servers still take (RFC 8945, section 6, less MD5).
ALGORITHMS = ("hmac-sha1", "hmac-sha224", "hmac-sha256", "hmac-sha384", "hmac-sha512")


def _base64(secret: SecretStr) -> SecretStr:
    try:
        decoded = base64.b64decode(secret.get_secret_value(), validate=True)
    except binascii.Error:
        decoded = b""
    if not decoded:
        raise ValueError(
            "not base64: copy what stands after `secret` in the server's configuration, without the quotes"
        )
    return secret


def _algorithm(name: str) -> str:
    if name.lower() not in ALGORITHMS:
        raise ValueError(f"no algorithm {name!r}; there are: {', '.join(ALGORITHMS)}")
    return name.lower()


def _key_name(name: str) -> str:
    try:
        dns.name.from_text(name)
    except dns.exception.DNSException as exc:
        raise ValueError(f"{name!r} is no domain name, and names of keys are") from exc
    if any(character in name for character in '"{};\\') or not name.isprintable():
        raise ValueError(f"{name!r} can't be written in a server's configuration")
    return name


Base64 = Annotated[SecretStr, AfterValidator(_base64)]
Algorithm = Annotated[str, AfterValidator(_algorithm)]
KeyName = Annotated[str, AfterValidator(_key_name)]
Port = Annotated[int, Field(ge=1, le=65535)]


class SignedOptions(Options):
    """Of a target that is spoken to over DNS with a TSIG key."""

    #: Where the server answers queries, updates and transfers.
    host: str
    port: Port = 53
    tsig_key_name: KeyName
    tsig_key_secret: Base64
    tsig_key_algorithm: Algorithm = "hmac-sha256"
