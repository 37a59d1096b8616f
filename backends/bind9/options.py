"""What pools.yaml says about a `bind9` target, checked when it is loaded."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from backends.dns_options import Algorithm as Algorithm
from backends.dns_options import Base64 as Base64
from backends.dns_options import KeyName as KeyName
from backends.dns_options import Port as Port
from dnsworker.backend import Options


def _quotable(text: str) -> str:
    if any(character in text for character in '"\\') or not text.isprintable():
        raise ValueError(f"{text!r} can't be written in named.conf")
    return text


def _view(name: str) -> str:
    # Unquoted, because `rndc addzone` doesn't take it in quotes.
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", name):
        raise ValueError(
            f"{name!r}: rndc takes a view by its name only if that is letters, digits, -, _ and dots"
        )
    return name


def _policy_name(name: str) -> str:
    if name == "none":
        raise ValueError("leave it out for zones that named doesn't sign")
    return _quotable(name)


def _statements(text: str) -> str:
    stripped = text.strip()
    if stripped and not stripped.endswith(";"):
        raise ValueError("statements of named.conf end in a semicolon")
    if stripped.count("{") != stripped.count("}"):
        raise ValueError("the braces don't match")
    return stripped


def _element(text: str) -> str:
    element = text.strip().removesuffix(";").strip()
    if not element or any(character in element for character in "{};"):
        raise ValueError(f"{text!r} is no single element of an address match list")
    return element


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError as exc:
        raise ValueError(f"{text!r} is no IP address; named.conf takes no names there") from exc


Quotable = Annotated[str, AfterValidator(_quotable)]
View = Annotated[str, AfterValidator(_view)]
PolicyName = Annotated[str, AfterValidator(_policy_name)]
Statements = Annotated[str, AfterValidator(_statements)]
Element = Annotated[str, AfterValidator(_element)]
Address = Annotated[str, AfterValidator(_address)]


class Bind9Options(Options):
    """The `options` of a target of `type: bind9`."""

    #: `primary`: we write to named. `secondary`: named transfers the zones from the target's `masters`.
    mode: Literal["primary", "secondary"] = "primary"
    #: Where named answers queries, updates and transfers.
    host: str
    port: Port = 53
    #: Where named's `controls` listen; the host is `host` unless given.
    rndc_host: str | None = None
    rndc_port: Port = 953
    #: For the operator; the protocol knows a key by its secret alone.
    rndc_key_name: KeyName
    rndc_key_secret: Base64
    rndc_key_algorithm: Algorithm = "hmac-sha256"
    #: The key that signs our queries, transfers and updates; zones are made for it.
    tsig_key_name: KeyName
    tsig_key_secret: Base64
    tsig_key_algorithm: Algorithm = "hmac-sha256"
    #: The view that zones are added to; the key must lead there (`match-clients`). None: named has no views.
    view: View | None = None
    #: Who else may transfer the zones: elements of an address match list (`192.0.2.53`, `key "secondary"`).
    allow_transfer: tuple[Element, ...] = ()
    #: More statements for each zone that is added (`also-notify { 192.0.2.53; };`). An `allow-update` or
    #: `update-policy` takes the place of ours, and must let our key in.
    zone_statements: Statements = ""
    #: A secondary's: the name of a key in named.conf, the one that the `masters` want transfers signed with.
    masters_key_name: KeyName | None = None
    #: The `dnssec-policy` of named.conf that each zone is signed by; None: named doesn't sign.
    dnssec_policy: PolicyName | None = None
    #: named keeps the signed zone beside the one that is written to, instead of signing that one.
    inline_signing: bool = False
    #: The folder for zone files as named sees it, absolute or below its `directory`. It must be there, and
    #: named must be able to write to it.
    zone_directory: Quotable = "."
    #: The same folder as this worker sees it, where the two share one: then new zones start from a file that
    #: the worker writes. None: named fetches them from the worker.
    local_zone_directory: Path | None = None
    #: The worker's address as named sees it. None: the one that we reach named's `controls` from.
    transfer_host: Address | None = None
    #: The port, TCP and UDP, at which named fetches new zones; 0: any that is free.
    transfer_port: Annotated[int, Field(ge=0, le=65535)] = 0

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.inline_signing and self.dnssec_policy is None:
            raise ValueError("inline_signing goes with a dnssec_policy")
        if self.mode == "primary":
            if self.masters_key_name is not None:
                raise ValueError("masters_key_name goes with mode: secondary")
            return self
        if self.dnssec_policy is not None:
            raise ValueError("dnssec_policy goes with mode: primary; a secondary has what its masters signed")
        if not self.masters:
            raise ValueError("mode: secondary needs the target's `masters`, which named transfers from")
        for master in self.masters:
            _address(master.host)
        return self

    @property
    def control_host(self) -> str:
        return self.rndc_host or self.host
