"""The contract between dnsworker and one kind of DNS server or provider, and how a kind is found by name.

Separate from the deliveries so that a backend can be written, tested (`dnsworker.testing`) and shipped by
somebody who never reads the rest of this package.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from dnsworker.addresses import Address
from dnsworker.capabilities import Capabilities as Capabilities  # part of the contract
from dnsworker.contents import ZoneContents
from dnsworker.errors import BackendError, ConfigError, Unsupported, ZoneMissing
from dnsworker.names import Name
from dnsworker.plan import Plan
from dnsworker.records import SOA, Key, RRset

ENTRY_POINT_GROUP = "dnsworker.backends"
BUILT_IN = (  # one a line
    "bind9",
    "builtin",
    "knot",
    "nsd",
    "octodns",
    "powerdns",
    "rfc2136",
    "route53",
    "zonefile",
)


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the target said to an `apply`."""

    #: The SOA that the target has now, as far as its answer tells; the plan's `desired_soa` for most.
    soa: SOA
    #: The provider's handle for the change, where it has one.
    change_id: str | None = None


@dataclass(frozen=True, slots=True)
class Health:
    """What `check` found."""

    ok: bool
    #: One line for the operator: version and address when well; else what is wrong and what to do.
    message: str


@dataclass(frozen=True, slots=True)
class ZoneDelta:
    """The net difference between two versions of a zone at a target, record by record (from an IXFR).

    `removed` and `added` map a key to (ttl, canonical rdata text) pairs; a pair that was added and removed
    again is in neither. SOA records are left out; `soa` is the one at the end.
    """

    soa: SOA
    removed: Mapping[Key, frozenset[tuple[int, str]]] = field(default_factory=dict)
    added: Mapping[Key, frozenset[tuple[int, str]]] = field(default_factory=dict)

    @property
    def keys(self) -> set[Key]:
        return set(self.removed) | set(self.added)


class Options(BaseModel):
    """Base of every backend's options: unknown words are refused, values don't change.

    Secrets are `SecretStr`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    #: The primaries that the target transfers its zones from: `masters` of the target in pools.yaml, not a
    #: word of its `options`.
    masters: tuple[Address, ...] = Field(default=(), repr=False)

    @field_validator("masters", mode="before")
    @classmethod
    def _masters_of_the_target(cls, value: object, info: ValidationInfo) -> object:
        if value:
            raise ValueError("masters stand beside `options`, not in it")
        return info.context["masters"] if info.context else value


class Backend(ABC):
    """One DNS server or provider. It translates; it doesn't plan, retry, sleep, or touch the database.

    An object serves one delivery at a time (never two threads at once) and keeps its connections between
    calls. Every network call has a time-out of at most `timeout_s`; before each request after the first
    in one method, and then only, call `self.checkpoint()`: so the requests of a method are one and one for
    each checkpoint, which is what the target's budget is charged; a method that needs none is charged one.
    Opening a connection isn't a request. What can't be held up on its way is one as a whole: say in the
    backend's documentation what its requests are.

    Every method raises `BackendError`s only (and lets through what `checkpoint` and `renew` raise).
    """

    #: What every target of this kind can do, and, on an object, what this one can.
    capabilities: Capabilities
    options_model: ClassVar[type[Options]] = Options

    def __init__(self, target: str, options: Options, *, timeout_s: float = 5.0) -> None:
        """`target` is the name from pools.yaml, for messages; `options` an `options_model`."""
        self.target = target
        self.timeout_s = timeout_s
        self.capabilities = self.capabilities_for(options)
        #: Set by the delivery: renews its claim, raises `ClaimLost` when another worker has taken over, and
        #: waits where the target's budget says so (raises `RateLimited` where that would take too long).
        self.checkpoint: Callable[[], None] = lambda: None
        #: Set by the delivery: renews its claim, without a request. For waiting and for long work in between.
        self.renew: Callable[[], None] = lambda: None

    @classmethod
    def capabilities_for(cls, options: Options) -> Capabilities:
        """What a target with these options can do; asked at submit time too, so nothing is connected."""
        return cls.capabilities

    @classmethod
    def writes_to(cls, options: Options) -> tuple[str, ...] | None:
        """What tells one copy of a zone from another: kind of access, address, view or account.

        Two targets for which this is equal are one server under two names, and would undo each other's work.
        A server that is changed by DNS is `("dns", "host:port", view)`, whatever the backend. None: can't
        tell. Nothing is connected or looked up.
        """
        return None

    @abstractmethod
    def read_zone(self, zone: Name) -> ZoneContents | None:
        """The whole zone; None only when the server positively says that it hasn't got it.

        Records are canonical but not judged: `RRset.from_rdataset`.
        """

    def read_soa(self, zone: Name) -> SOA | None:
        """The zone's SOA from the target itself; None as in `read_zone`.

        Zones in which nothing changes are looked at by it; where it isn't overridden, by `read_zone`, and
        less often.
        """
        contents = self.read_zone(zone)
        return contents.soa if contents else None

    def read_rrsets(self, zone: Name, keys: Collection[Key]) -> Mapping[Key, RRset]:
        """Those of the RRsets that exist at the target, as stored (no wildcard expansion, no referral).

        Raises `ZoneMissing` when the zone isn't there. The default reads the whole zone.
        """
        contents = self.read_zone(zone)
        if contents is None:
            raise ZoneMissing(f"the server has no zone {zone}", zone=zone)
        return {key: contents.rrsets[key] for key in keys if key in contents.rrsets}

    def read_changes(self, zone: Name, since: SOA) -> ZoneDelta | None:
        """What changed at the target since `since`; None when it can't tell (then: `read_zone`).

        Raises `ZoneMissing` when the zone isn't there.
        """
        return None

    def read_back(self, zone: Name, since: SOA) -> ZoneDelta | ZoneContents | None:
        """As `read_changes`, or the whole zone, where the target answers with that because it is shorter."""
        return self.read_changes(zone, since)

    @abstractmethod
    def create_zone(self, zone: ZoneContents) -> Receipt | None:
        """Make the zone exist with exactly these contents. Safe to repeat, also after a broken attempt.

        The caller has made sure (`read_zone`) that nothing of somebody else's is there. Where the server
        can hide a zone, nobody sees it half-filled. A receipt where the provider has a change id to follow.

        A *pull* target is made to transfer the zone, and has it with `zone.soa` when this returns; raises
        `Behind` where its primary doesn't give it in time.

        Without `creates_zones` the zone must be there, at a serial below `zone.soa` that leaves room for the
        messages it takes (else `ZoneChanged`); raises `ZoneMissing` where it isn't.
        """

    @abstractmethod
    def apply(self, plan: Plan) -> Receipt:
        """Carry out the plan, in its order. Safe to repeat.

        Raises `ZoneChanged` when the zone isn't at `plan.current_soa` (where `fencing` is `server`),
        `ZoneMissing`, `RecordRejected`, and the rest of `BackendError`.

        With `plan.fence` `rrsets` (where the backend `fences_rrsets`) it raises `ZoneChanged` when one of the
        RRsets isn't as the plan expects, and changes nothing. The serial rises to that of `plan.desired_soa`
        if it is ahead of the zone's, else the server counts; the receipt can't tell which.

        A *pull* target is told to transfer (NOTIFY or its own command), and has `plan.desired_soa` when this
        returns; raises `Behind` where its primary doesn't give it in time. With `current_soa` and
        `desired_soa` the same it is to fetch the whole zone anew.
        """

    def apply_together(self, plans: Sequence[Plan]) -> list[Receipt | BackendError]:
        """Carry out plans of different zones: what came of each, in their order. Raises nothing.

        At most `capabilities.pipelined`, under way at once, so that none waits for another one's end. Where
        it isn't known what became of one, that is `OutcomeUnknown`; `Unreachable` only where nothing was
        sent. Called for what has no budget, so it makes no checkpoints.
        """
        results: list[Receipt | BackendError] = []
        for plan in plans:
            try:
                results.append(self.apply(plan))
            except BackendError as exc:
                results.append(exc)
        return results

    def has_arrived(self, zone: Name, change_id: str) -> bool:
        """Whether the change of a receipt has reached all servers of the provider."""
        return True

    def ds_records(self, zone: Name) -> list[str]:
        """The DS records that the zone's parent should have, as rdata text; empty where nobody signs it.

        Asked after each delivery, so it costs no request where the zone isn't signed.
        """
        return []

    @abstractmethod
    def delete_zone(self, zone: Name) -> None:
        """Remove the zone; no error when it is absent. Returns only when the server has said so.

        Without `creates_zones`: leave it with its SOA and `ZoneContents.skeleton`, at a serial above.
        """

    def notify(self, zone: Name) -> None:
        """Have the zone's secondaries told to look (NOTIFY), now; a *pull* target is told to look itself.

        Returns when the server has said that it will, and not when it is done. Raises `ZoneMissing`, and
        `Unsupported` without `notifies`.
        """
        raise Unsupported(f"{self.target} can't be told to notify anybody", zone=zone)

    @abstractmethod
    def check(self) -> Health:
        """Whether the target answers to our credentials. Never raises `BackendError`: it reports."""

    def close(self) -> None:  # noqa: B027 - a backend without connections has nothing to close
        """Give up connections."""


@functools.cache  # every installed distribution is searched for entry points
def load_backend(kind: str) -> type[Backend]:
    """The backend class for a target's `type`: built in, or registered under `dnsworker.backends`.

    Raises `ConfigError` naming the kinds there are, or the extra that is missing.
    """
    for entry in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP, name=kind):
        return _checked(kind, entry.load())
    if kind not in BUILT_IN:
        raise ConfigError(f"no backend of type {kind!r}; there are: {', '.join(backend_kinds())}")
    try:
        module = importlib.import_module(f"backends.{kind}")
    except ModuleNotFoundError as exc:
        if exc.name in (None, "backends"):
            raise ConfigError(
                f"the {kind} backend is not installed: run the worker from a checkout or the image"
            ) from exc
        raise ConfigError(f"the {kind} backend needs {exc.name}: pip install 'dnsworker[worker]'") from exc
    return _checked(kind, module.BACKEND)


def backend_kinds() -> list[str]:
    """The names of all backends to be had here, built-in ones first."""
    registered = {entry.name for entry in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP)}
    return [*BUILT_IN, *sorted(registered - set(BUILT_IN))]


def _checked(kind: str, found: object) -> type[Backend]:
    if not (isinstance(found, type) and issubclass(found, Backend)):
        raise ConfigError(f"backend {kind!r} is not a dnsworker.backend.Backend class")
    return found
