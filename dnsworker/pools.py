"""Pools, their targets and nameservers as immutable values, and how they are read from pools.yaml.

Separate from the store, which keeps a pool's document, and from the backends, whose options stay a plain
mapping here until `check_options` or a delivery asks the backend itself.
"""

from __future__ import annotations

import fnmatch
import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from dnsworker import names
from dnsworker.addresses import Address
from dnsworker.backend import Options, load_backend
from dnsworker.budget import Budget
from dnsworker.capabilities import Capabilities
from dnsworker.credentials import TsigKey, is_reference, mask, resolve_secrets
from dnsworker.errors import ConfigError, InvalidName, InvalidRecord
from dnsworker.names import Name
from dnsworker.records import Key, RRset

__all__ = [
    "Address", "CatalogZone", "Limits", "Nameserver", "NsRecord", "Pool", "Target", "TsigKey",
    "build_options", "capabilities_of", "check_options", "load_pools", "resolve_secrets",
]  # fmt: skip

#: Designate's names for kinds of backends that we have under another one.
KINDS = {"pdns4": "powerdns", "nsd4": "nsd"}

TARGET_NAME = re.compile(r"[A-Za-z0-9_-]{1,60}")


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class NsRecord(_Part):
    """One name of the apex NS RRset of every zone in the pool; the lowest priority is the SOA's mname."""

    hostname: str
    priority: int = Field(default=1, ge=0)

    @field_validator("hostname")
    @classmethod
    def _absolute(cls, value: str) -> str:
        if not value.endswith("."):
            raise ValueError(f"{value!r} lacks its final dot: write {value + '.'!r}")
        try:
            return names.absolute_name(value)
        except InvalidName as exc:
            raise ValueError(exc.message) from exc


class Nameserver(Address):
    """A server that is asked whether it answers with what it should."""

    #: The target whose contents it serves; None: it follows all of them.
    target: str | None = None
    verify: Literal["auto", "serial", "content", "none"] = "auto"
    tsig_key: TsigKey | None = None


class Limits(_Part):
    """How much a target may be asked to do, over all workers."""

    #: Deliveries at once; None: no limit but each worker's own.
    concurrency: int | None = Field(default=None, ge=1, le=1000)
    requests_per_second: float | None = Field(default=None, ge=0.001, le=100_000)
    #: Requests that may be made at once after a pause; None: one second's worth.
    burst: int | None = Field(default=None, ge=1, le=100_000)
    #: Deliveries that nobody waits for: of what has to be repaired, and to a new target.
    repairs_per_second: float = Field(default=20.0, ge=0.001, le=100_000)

    @property
    def budget(self) -> Budget | None:
        """What `requests_per_second` and `burst` allow; None: any number of requests."""
        if self.requests_per_second is None:
            return None
        return Budget(self.requests_per_second, self.burst or max(1, int(self.requests_per_second)))


class Target(_Part):
    """One server or provider account that zones are written to."""

    name: str
    type: str = Field(min_length=1)
    masters: list[Address] = []
    #: As the file says it; may hold secrets or references to them, hence not in the repr.
    options: dict[str, Any] = Field(default={}, repr=False)
    limits: Limits = Limits()

    @field_validator("name")
    @classmethod
    def _usable_in_a_queue_name(cls, value: str) -> str:
        if not TARGET_NAME.fullmatch(value):
            raise ValueError(f"{value!r} must be 1 to 60 letters, digits, '_' or '-' (it names a queue)")
        return value


class Ignored(_Part):
    """RRsets that belong to somebody else: neither written, nor compared, nor removed."""

    #: Owner names relative to the zone, with `*` for anything: `_acme-challenge`, `*.dhcp`, `@`.
    name: str = Field(min_length=1)
    #: Empty: all types.
    types: tuple[str, ...] = ()

    @field_validator("name")
    @classmethod
    def _relative(cls, value: str) -> str:
        if value.endswith("."):
            raise ValueError(f"{value!r} must be relative to the zone: without the final dot")
        return value.lower()

    @field_validator("types")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        try:
            return tuple(RRset.checked_type(one) for one in value)
        except InvalidRecord as exc:
            raise ValueError(exc.message) from exc

    def matches(self, key: Key, zone: Name) -> bool:
        """Whether an RRset of the zone is one of these."""
        name, type_ = key
        if self.types and type_ not in self.types:
            return False
        relative = "@" if name == zone else name.removesuffix(zone).rstrip(".")
        return fnmatch.fnmatchcase(relative, self.name)


class CatalogZone(_Part):
    """The pool's catalog zone (RFC 9432), with Designate's words."""

    catalog_zone_fqdn: str
    catalog_zone_refresh: int = Field(default=60, ge=1)
    catalog_zone_tsig_key: SecretStr | None = None
    catalog_zone_tsig_algorithm: str | None = None


class Pool(_Part):
    """The targets that hold the same zones, and the nameservers that answer for them."""

    name: str = Field(min_length=1, max_length=100, pattern=r"^[^\s/][^\x00-\x1f/]*$")
    description: str = ""
    ns_records: list[NsRecord] = Field(min_length=1)
    nameservers: list[Nameserver] = []
    targets: list[Target] = Field(min_length=1)
    also_notifies: list[Address] = []
    catalog_zone: CatalogZone | None = None
    #: The share of nameservers that must answer with a change before it is `ACTIVE`.
    threshold_percentage: int = Field(default=100, ge=1, le=100)
    #: What becomes of what somebody else changed at a target.
    on_drift: Literal["repair", "report", "ignore"] = "repair"
    #: What is never ours.
    ignore: list[Ignored] = []

    @model_validator(mode="before")
    @classmethod
    def _name_targets(cls, raw: Any) -> Any:
        if not isinstance(raw, Mapping) or not isinstance(raw.get("targets"), list):
            return raw
        counts: Counter[str] = Counter()
        targets = []
        for target in raw["targets"]:
            named = target
            if isinstance(target, Mapping):
                kind = str(target.get("type"))
                kind = KINDS.get(kind, kind)
                counts[kind] += 1
                stem = re.sub(r"[^A-Za-z0-9_-]+", "-", f"{raw.get('name')}-{kind}")[:56]
                named = {"name": f"{stem}-{counts[kind]}", **target}
                if "type" in target:
                    named["type"] = kind
            targets.append(named)
        return {**raw, "targets": targets}

    @model_validator(mode="after")
    def _fits_together(self) -> Pool:
        _refuse_repeats("ns_records", "hostname", [record.hostname for record in self.ns_records])
        _refuse_repeats("targets", "name", [target.name for target in self.targets])
        _refuse_repeats("nameservers", "host", [server.address for server in self.nameservers])
        names = [target.name for target in self.targets]
        for index, server in enumerate(self.nameservers):
            if server.target is not None and server.target not in names:
                raise located(
                    ("nameservers", index, "target"),
                    f"the pool has no target {server.target!r}; it has: {', '.join(names)}",
                )
        return self

    @property
    def is_shared(self) -> bool:
        """Whether others are expected to write to the pool's zones, too."""
        return bool(self.ignore) or self.on_drift != "repair"

    def ignores(self, key: Key, zone: Name) -> bool:
        """Whether an RRset belongs to somebody else. The zone's own SOA and NS never do."""
        if key[0] == zone and key[1] in ("NS", "SOA"):
            return False
        return any(one.matches(key, zone) for one in self.ignore)

    def to_document(self) -> dict[str, Any]:
        """The pool as JSON, for the database. Holds the secrets that the file gave literally."""
        document = self.model_dump(mode="json", exclude_unset=True)
        # pydantic masks secrets in JSON
        for dumped, server in zip(document.get("nameservers", []), self.nameservers, strict=True):
            if server.tsig_key is not None and isinstance(server.tsig_key.secret, SecretStr):
                dumped["tsig_key"]["secret"] = server.tsig_key.secret.get_secret_value()
        if self.catalog_zone is not None and self.catalog_zone.catalog_zone_tsig_key is not None:
            key = self.catalog_zone.catalog_zone_tsig_key.get_secret_value()
            document["catalog_zone"]["catalog_zone_tsig_key"] = key
        return document

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Pool:
        """The pool that `to_document` wrote. Raises `ConfigError`."""
        try:
            return cls.model_validate(document)
        except ValidationError as exc:
            where, reason = first_error(exc)
            raise ConfigError(f"stored pool {document.get('name')}: {path_text(where)}: {reason}") from exc

    def to_public(self) -> dict[str, Any]:
        """The pool as JSON to be shown: every default spelled out, secrets masked."""
        document = self.model_dump(mode="json")
        for dumped, target in zip(document["targets"], self.targets, strict=True):
            dumped["options"] = mask(target.options)
        masked = mask(document)
        assert isinstance(masked, dict)
        return masked

    def target(self, name: str) -> Target:
        """The target of that name. Raises `ConfigError`."""
        for target in self.targets:
            if target.name == name:
                return target
        raise ConfigError(f"pool {self.name} has no target {name!r}")


def build_options(target: Target) -> Options:
    """The target's options as its backend wants them, secrets read. Raises `ConfigError`, without secrets."""
    return _options(target, resolve_secrets(target.options))


def capabilities_of(target: Target) -> Capabilities:
    """What the target's backend can do with these options; no secret is read. Raises `ConfigError`."""
    return load_backend(target.type).capabilities_for(_options(target, _with_stand_ins(target.options)))


def writes_to(target: Target) -> tuple[str, ...] | None:
    """Which copy of zones the target is (`Backend.writes_to`); no secret is read. Raises `ConfigError`."""
    return load_backend(target.type).writes_to(_options(target, _with_stand_ins(target.options)))


def check_options(pools: Iterable[Pool], *, reads_secrets: bool = False) -> None:
    """Ask each target's backend whether it can work with the options. Raises `ConfigError`.

    Without `reads_secrets` a reference is taken as right: the secret may be on the workers only.
    """
    for pool in pools:
        for target in pool.targets:
            options = resolve_secrets(target.options) if reads_secrets else _with_stand_ins(target.options)
            try:
                _options(target, options)
            except ConfigError as exc:
                raise ConfigError(f"pool {pool.name}: {exc.message}") from exc


def option_error(target: Target) -> tuple[tuple[str | int, ...], str] | None:
    """Where in a target, and why, its backend can't work with it; secrets are not read."""
    try:
        model = load_backend(target.type).options_model
    except ConfigError as exc:
        return ("type",), exc.message
    try:
        model.model_validate(_with_stand_ins(target.options), context={"masters": tuple(target.masters)})
    except ValidationError as exc:
        where, reason = first_error(exc)
        return ("options", *where), reason
    return None


def load_pools(
    source: Path | str, *, notes: list[str] | None = None, checks_options: bool = False
) -> list[Pool]:
    """The pools that a file describes; what was read over is added to `notes`.

    `source` is a path, or the YAML itself (a text of more than one line). `checks_options`: also asks each
    target's backend. Raises `ConfigError`:
    `pools.yaml:12: pool default: targets[0].limits.burst: Input should be …`.
    """
    from dnsworker import poolfile  # reads into the classes above

    return poolfile.load(source, notes if notes is not None else [], checks_options=checks_options)


def first_error(error: ValidationError) -> tuple[tuple[str | int, ...], str]:
    """Where and why a document was refused first, without the refused value."""
    one = error.errors(include_url=False, include_input=False)[0]
    at = one.get("ctx", {}).get("at", ())
    said = {"missing": "is missing", "extra_forbidden": "is not known here"}
    reason = said.get(one["type"], one["msg"].removeprefix("Value error, "))
    return (*one["loc"], *at), reason


def path_text(where: Iterable[str | int]) -> str:
    """`targets[0].name`."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in where).lstrip(".")


def located(where: tuple[str | int, ...], reason: str) -> PydanticCustomError:
    """An error of a whole document that belongs to one place in it."""
    return PydanticCustomError("pool", "{reason}", {"reason": reason, "at": where})


def _refuse_repeats(part: str, field: str, values: list[str]) -> None:
    for index, value in enumerate(values):
        if value in values[:index]:
            raise located((part, index, field), f"{value!r} is there twice")


def _options(target: Target, options: dict[str, Any]) -> Options:
    model = load_backend(target.type).options_model
    try:
        return model.model_validate(options, context={"masters": tuple(target.masters)})
    except ValidationError as exc:
        where, reason = first_error(exc)
        at = path_text(("options", *where))
        raise ConfigError(f"target {target.name}: {at}: {reason}") from None  # the cause quotes its input


def _with_stand_ins(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _stand_in(value) for name, value in options.items()}


def _stand_in(value: Any) -> Any:
    if is_reference(value):
        # One for each reference, so that what is the same secret is known to be; base64, as most secrets are.
        return hashlib.sha256(repr(sorted(value.items())).encode()).hexdigest()[:28]
    if isinstance(value, Mapping):
        return _with_stand_ins(value)
    return [_stand_in(inner) for inner in value] if isinstance(value, list) else value
