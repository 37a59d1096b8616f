"""The kinds of target that the faults are tried on: each with a real server, behind a gateway that spoils.

A bench knows how each fault is brought about at its kind, and what the operator must be told then.
"""

from __future__ import annotations

import base64
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import dns.name
import dns.rcode
import dns.tsig
import pytest

from dev.servers import Bind, Knot, Nsd, PowerDNS, Route53, Server
from dev.writes import changes_zones, commits
from dnsworker.backend import Backend, load_backend
from dnsworker.contents import ZoneContents
from dnsworker.names import Name
from tests.faults.gateways import (
    DnsGateway,
    HttpGateway,
    Reply,
    Spoil,
    SpoilingProxy,
    SpoilingSocketProxy,
    tls_only,
)
from tests.tlsproxy import TlsProxy
from tests.updatable import (
    add_to_bind,
    add_to_knot,
    remove_from_bind,
    remove_from_knot,
)

#: Nobody's: it must not show anywhere.
WRONG_SECRET = base64.b64encode(b"a secret that this server has not").decode()
SKEW_S = 600
RETRY_AFTER_S = 2
#: A serial of a zone that an operator makes: below all of ours.
EARLY = 7


@dataclass(frozen=True)
class Said:
    """What is to be noted of a fault."""

    #: The error's class.
    code: str
    #: In its words, as a regular expression.
    words: str


class Bench(ABC):
    """One kind of target. `options` lead through the gateway; the operator's own tools go past it."""

    #: By fault, what is noted of it. A fault that isn't here, and in `without`, fails the suite.
    said: ClassVar[Mapping[str, Said]]
    #: By fault, why it can't happen to this kind.
    without: ClassVar[Mapping[str, str]] = {}
    #: Faults that are in nobody's way but a new zone's.
    concerns_new_zones: ClassVar[frozenset[str]] = frozenset()
    type: ClassVar[str]

    def __init__(self, server: Server, certificate: Path, patch: pytest.MonkeyPatch) -> None:
        self.server, self.certificate, self.patch = server, certificate, patch
        self.resources = ExitStack()
        self._backend: Backend | None = None

    def close(self) -> None:
        if self._backend is not None:
            self._backend.close()
        self.resources.close()

    @abstractmethod
    def options(self) -> dict[str, Any]:
        """Of the target in pools.yaml, through the gateway."""

    @abstractmethod
    def direct_options(self) -> dict[str, Any]:
        """Past it."""

    def target(self, **options: Any) -> dict[str, Any]:
        """The entry of pools.yaml; `options` replace its own."""
        return {"name": "target", "type": self.type, "options": {**self.options(), **options}}

    def others(self) -> list[dict[str, Any]]:
        """More targets of the pool."""
        return []

    def prepare(self, zone: Name) -> None:  # noqa: B027 - most operators need do nothing
        """What an operator does before a zone is submitted."""

    # --- the operator's own tools ---

    @property
    def direct(self) -> Backend:
        if self._backend is None:
            found = load_backend(self.type)
            model = found.options_model.model_validate(self.direct_options(), context={"masters": ()})
            self._backend = found("direct", model, timeout_s=10)
        return self._backend

    def read(self, zone: Name) -> ZoneContents | None:
        return self.direct.read_zone(zone)

    def make_by_hand(self, zone: ZoneContents) -> None:
        self.direct.create_zone(zone)

    def remove_by_hand(self, zone: Name) -> None:
        self.direct.delete_zone(zone)


class NetworkBench(Bench):
    """Answers come over a network, where they can be spoiled."""

    @abstractmethod
    def spoil(self, what: Spoil) -> None:
        """All answers from now on."""

    # --- the faults: each a context manager that yields the options that the target has meanwhile ---

    @contextmanager
    def cut_answer(self) -> Iterator[dict[str, Any]]:
        self.spoil("cut")
        yield {}
        self.spoil("")

    @contextmanager
    def lost_answer(self) -> Iterator[dict[str, Any]]:
        self.spoil("lose")
        yield {}
        self.spoil("")


# --- by dynamic update --------------------------------------------------------------------------------------


class UpdateBench(NetworkBench):
    """A server that takes updates signed with a TSIG key."""

    server: Bind | Knot
    without: ClassVar[Mapping[str, str]] = {
        "untrusted_certificate": "DNS over TCP has none",
        "tls_for_plain": "there is no option for TLS",
        "limited": "DNS has no such answer",
        "limited_with_time": "DNS has no such answer",
    }
    said: ClassVar[Mapping[str, Said]] = {
        "wrong_key": Said("AuthenticationFailed", r"another secret for the TSIG key 'dnsworker' \(BADSIG\)"),
        "wrong_algorithm": Said("AuthenticationFailed", r"compare name and algorithm \(BADKEY\)"),
        "wrong_clock": Said("AuthenticationFailed", r"the clocks differ by (59|60)\d s.*\(BADTIME\)"),
        "plain_for_tls": Said("Unreachable|OutcomeUnknown", "(closed the connection|reset by peer)"),
        "server_failure": Said("ServerFailure", "SERVFAIL"),
        "cut_answer": Said("Unreachable|OutcomeUnknown", "closed the connection|broke off"),
        "lost_answer": Said("OutcomeUnknown", "was sent an update and did not answer"),
        "not_stored": Said("ServerFailure", "the server accepted the change and doesn't have it"),
    }

    def __init__(self, server: Server, certificate: Path, patch: pytest.MonkeyPatch) -> None:
        super().__init__(server, certificate, patch)
        algorithm = dns.name.from_text(self.server.algorithm)
        self.key = dns.tsig.Key(self.server.key_name, self.server.key_secret, algorithm)
        self.gateway = DnsGateway(self.server.address, self.server.port, self.key)
        self.resources.callback(self.gateway.close)
        self.tls_port = self.resources.enter_context(tls_only(certificate))

    def options(self) -> dict[str, Any]:
        return {**self.direct_options(), "port": self.gateway.port}

    def direct_options(self) -> dict[str, Any]:
        return self.server.target_options()

    def spoil(self, what: Spoil) -> None:
        self.gateway.spoil = what

    @contextmanager
    def wrong_key(self) -> Iterator[dict[str, Any]]:
        yield {"tsig_key_secret": WRONG_SECRET}

    @contextmanager
    def wrong_algorithm(self) -> Iterator[dict[str, Any]]:
        yield {"tsig_key_algorithm": "hmac-sha512"}

    @contextmanager
    def wrong_clock(self) -> Iterator[dict[str, Any]]:
        with self.patch.context() as patch:
            late = _late_clock()
            patch.setattr("backends.dns_tsig.time", late)
            patch.setattr("dnsworker.tsig.time", late)
            yield {}

    @contextmanager
    def plain_for_tls(self) -> Iterator[dict[str, Any]]:
        yield {"port": self.tls_port}

    @contextmanager
    def server_failure(self) -> Iterator[dict[str, Any]]:
        self.gateway.rcode, self.gateway.is_for_all = dns.rcode.SERVFAIL, True
        yield {}
        self.gateway.rcode, self.gateway.is_for_all = None, False

    @contextmanager
    def not_stored(self) -> Iterator[dict[str, Any]]:
        self.gateway.rcode = dns.rcode.NOERROR
        yield {}
        self.gateway.rcode = None


def _late_clock() -> SimpleNamespace:
    """The module `time` of a machine whose clock is late."""
    return SimpleNamespace(**{**vars(time), "time": lambda: time.time() - SKEW_S})


class Bind9Bench(UpdateBench):
    """Over both channels: DNS and rndc."""

    type = "bind9"
    server: Bind

    def __init__(self, server: Server, certificate: Path, patch: pytest.MonkeyPatch) -> None:
        super().__init__(server, certificate, patch)
        self.control = SpoilingProxy(self.server.address, self.server.rndc_port, changes_zones)
        self.resources.callback(self.control.close)

    def options(self) -> dict[str, Any]:
        return {**super().options(), "rndc_port": self.control.port}

    def spoil(self, what: Spoil) -> None:
        self.gateway.spoil = self.control.spoil = what


class KnotBench(UpdateBench):
    """Over both channels: DNS and the control socket."""

    type = "knot"
    server: Knot

    def __init__(self, server: Server, certificate: Path, patch: pytest.MonkeyPatch) -> None:
        super().__init__(server, certificate, patch)
        self.control = SpoilingSocketProxy(self.server.control_socket, commits)
        self.resources.callback(self.control.close)

    def options(self) -> dict[str, Any]:
        return {**super().options(), "control_socket": str(self.control.path)}

    def spoil(self, what: Spoil) -> None:
        self.gateway.spoil = self.control.spoil = what


class Rfc2136Bench(UpdateBench):
    """Any server, here Knot, on which the operator adds and removes zones."""

    type = "rfc2136"
    server: Knot

    def direct_options(self) -> dict[str, Any]:
        return self.server.key_options()

    def prepare(self, zone: Name) -> None:
        add_to_knot(self.server, zone, EARLY)

    def make_by_hand(self, zone: ZoneContents) -> None:
        add_to_knot(self.server, zone.name, EARLY)
        super().make_by_hand(zone)

    def remove_by_hand(self, zone: Name) -> None:
        remove_from_knot(self.server, zone)


# --- by HTTP ------------------------------------------------------------------------------------------------


class HttpBench(NetworkBench):
    """An API. What its answers look like is the kind's own."""

    without: ClassVar[Mapping[str, str]] = {
        "wrong_algorithm": "the key has none",
        "wrong_clock": "nothing is signed with a time",
    }

    def __init__(self, server: Server, certificate: Path, patch: pytest.MonkeyPatch) -> None:
        super().__init__(server, certificate, patch)
        self.gateway = HttpGateway(*self.api_address(), certificate)
        self.resources.callback(self.gateway.close)

    @abstractmethod
    def api_address(self) -> tuple[str, int]:
        """Where the API is."""

    @abstractmethod
    def at(self, scheme: str, port: int) -> dict[str, Any]:
        """Options for the API at that port of this machine."""

    def options(self) -> dict[str, Any]:
        return {**self.direct_options(), **self.at("http", self.gateway.port)}

    def spoil(self, what: Spoil) -> None:
        self.gateway.spoil = what

    @abstractmethod
    def limit(self, headers: Mapping[str, str]) -> Reply:
        """ "Too many requests"."""

    @abstractmethod
    def failure(self) -> Reply:
        """ "Internal server error"."""

    @abstractmethod
    def pretend(self, method: str, path: str) -> Reply | None:
        """Success of a write that the server never hears of; None for what isn't a write of records."""

    @contextmanager
    def _answering(self, reply: Reply) -> Iterator[dict[str, Any]]:
        self.gateway.answer = lambda method, path: reply
        yield {}
        self.gateway.answer = lambda method, path: None

    def limited(self) -> Any:
        return self._answering(self.limit({}))

    def limited_with_time(self) -> Any:
        return self._answering(self.limit({"Retry-After": str(RETRY_AFTER_S)}))

    def server_failure(self) -> Any:
        return self._answering(self.failure())

    @contextmanager
    def not_stored(self) -> Iterator[dict[str, Any]]:
        self.gateway.answer = self.pretend
        yield {}
        self.gateway.answer = lambda method, path: None

    @contextmanager
    def untrusted_certificate(self) -> Iterator[dict[str, Any]]:
        yield self.at("https", self.gateway.tls_port)

    @contextmanager
    def tls_for_plain(self) -> Iterator[dict[str, Any]]:
        yield self.at("https", self.gateway.port)

    @contextmanager
    def plain_for_tls(self) -> Iterator[dict[str, Any]]:
        yield self.at("http", self.gateway.tls_port)


class PowerDNSBench(HttpBench):
    type = "powerdns"
    server: PowerDNS
    said: ClassVar[Mapping[str, Said]] = {
        "wrong_key": Said("AuthenticationFailed", "401: Unauthorized; compare"),
        "untrusted_certificate": Said("Unreachable", "certificate verify failed"),
        "tls_for_plain": Said("Unreachable", "TLS|SSL"),
        "plain_for_tls": Said("Unreachable|OutcomeUnknown", "disconnected|closed|reset"),
        "limited": Said("RateLimited", "asked for fewer requests: .*slow down"),
        "limited_with_time": Said("RateLimited", "asked for fewer requests: .*slow down"),
        "server_failure": Said("Busy", "database is locked"),
        "cut_answer": Said("Unreachable|OutcomeUnknown", "closed|incomplete|complete"),
        "lost_answer": Said("OutcomeUnknown", "without (sending a )?response"),
        "not_stored": Said("ServerFailure", "the server accepted the change and doesn't have it"),
    }

    def api_address(self) -> tuple[str, int]:
        return self.server.address, self.server.api_port

    def at(self, scheme: str, port: int) -> dict[str, Any]:
        return {"api_url": f"{scheme}://127.0.0.1:{port}"}

    def direct_options(self) -> dict[str, Any]:
        return self.server.target_options()

    def limit(self, headers: Mapping[str, str]) -> Reply:
        return Reply(429, "slow down", headers)

    def failure(self) -> Reply:
        return Reply(500, '{"error": "Could not start transaction: database is locked"}')

    def pretend(self, method: str, path: str) -> Reply | None:
        return Reply(204) if method == "PATCH" else None

    @contextmanager
    def wrong_key(self) -> Iterator[dict[str, Any]]:
        yield {"api_key": WRONG_SECRET}


class OctoDNSPowerDNSBench(PowerDNSBench):
    type = "octodns"
    said: ClassVar[Mapping[str, Said]] = {
        **PowerDNSBench.said,
        "not_stored": Said("RecordRejected", "the server accepted the change and doesn't have it"),
    }

    def at(self, scheme: str, port: int) -> dict[str, Any]:
        return self._with(scheme=scheme, host="127.0.0.1", port=port)

    def direct_options(self) -> dict[str, Any]:
        return self._with(host=self.server.address, port=self.server.api_port)

    @contextmanager
    def wrong_key(self) -> Iterator[dict[str, Any]]:
        yield self._with(host="127.0.0.1", port=self.gateway.port, api_key=WRONG_SECRET)

    def _with(self, **kwargs: Any) -> dict[str, Any]:
        own = {"api_key": self.server.api_key, "mode_of_operation": "native"}
        return {"class": "octodns_powerdns.PowerDnsProvider", "kwargs": {**own, **kwargs}}


class Route53Bench(HttpBench):
    type = "route53"
    server: Route53
    without: ClassVar[Mapping[str, str]] = {"wrong_algorithm": "there is one, AWS's own"}
    said: ClassVar[Mapping[str, Said]] = {
        "wrong_key": Said("AuthenticationFailed", "SignatureDoesNotMatch"),
        "wrong_clock": Said("AuthenticationFailed", "clock"),
        "untrusted_certificate": Said("Unreachable", "certificate verify failed"),
        "tls_for_plain": Said("Unreachable", "TLS|SSL"),
        "plain_for_tls": Said("Unreachable|OutcomeUnknown", "closed|reset|aborted"),
        "limited": Said("RateLimited", "asked for fewer requests: .*Throttling"),
        "limited_with_time": Said("RateLimited", "asked for fewer requests: .*Throttling"),
        "server_failure": Said("Busy", "InternalFailure"),
        "cut_answer": Said("Unreachable|OutcomeUnknown", "answer"),
        "lost_answer": Said("OutcomeUnknown", "answer"),
        "not_stored": Said("RecordRejected", "the server accepted the change and doesn't have it"),
    }

    def api_address(self) -> tuple[str, int]:
        return self.server.address, self.server.port

    def at(self, scheme: str, port: int) -> dict[str, Any]:
        return {"endpoint_url": f"{scheme}://127.0.0.1:{port}"}

    def direct_options(self) -> dict[str, Any]:
        return self.server.target_options()

    def limit(self, headers: Mapping[str, str]) -> Reply:
        return Reply(400, _aws_error("Throttling", "Rate exceeded"), headers)

    def failure(self) -> Reply:
        return Reply(500, _aws_error("InternalFailure", "An internal error has occurred"))

    def pretend(self, method: str, path: str) -> Reply | None:
        if method == "POST" and path.endswith(("/rrset", "/rrset/")):
            return Reply(200, _aws_change("ChangeResourceRecordSets"))
        return Reply(200, _aws_change("GetChange")) if "/change/CPRETENDED" in path else None

    @contextmanager
    def wrong_key(self) -> Iterator[dict[str, Any]]:
        yield {"secret_access_key": WRONG_SECRET}

    @contextmanager
    def wrong_clock(self) -> Iterator[dict[str, Any]]:
        self.server.set(clock_offset_s=-SKEW_S)
        yield {}
        self.server.behave()


def _aws_error(code: str, message: str) -> str:
    error = f"<Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>"
    return f'<ErrorResponse xmlns="https://route53.amazonaws.com/doc/2013-04-01/">{error}</ErrorResponse>'


def _aws_change(action: str) -> str:
    info = "<Id>/change/CPRETENDED</Id><Status>INSYNC</Status><SubmittedAt>2026-11-25T00:00:00Z</SubmittedAt>"
    name = f"{action}Response"
    return f'<{name} xmlns="https://route53.amazonaws.com/doc/2013-04-01/"><ChangeInfo>{info}</ChangeInfo></{name}>'


# --- octoDNS over DNS, zone files, NSD ----------------------------------------------------------------------


class OctoDNSBindBench(UpdateBench):
    """octodns-bind, which speaks DNS by itself; zones are the operator's matter."""

    type = "octodns"
    server: Bind
    said: ClassVar[Mapping[str, Said]] = {
        **UpdateBench.said,
        "wrong_key": Said("AuthenticationFailed", "TSIG key or the clock doesn't fit: PeerBadSignature"),
        "wrong_algorithm": Said("AuthenticationFailed", "TSIG key or the clock doesn't fit: PeerBadKey"),
        "wrong_clock": Said("AuthenticationFailed", "TSIG key or the clock doesn't fit: PeerBadTime"),
        "plain_for_tls": Said("Unreachable|OutcomeUnknown", "EOF|reset by peer"),
        "cut_answer": Said("Unreachable|OutcomeUnknown", "EOF"),
        "lost_answer": Said("OutcomeUnknown", "EOF"),
        "not_stored": Said("RecordRejected", "the server accepted the change and doesn't have it"),
    }

    def options(self) -> dict[str, Any]:
        return self._with(port=self.gateway.port)

    def direct_options(self) -> dict[str, Any]:
        return self._with()

    def prepare(self, zone: Name) -> None:
        add_to_bind(self.server, zone, EARLY)

    def make_by_hand(self, zone: ZoneContents) -> None:
        add_to_bind(self.server, zone.name, EARLY)
        super().make_by_hand(zone)

    def remove_by_hand(self, zone: Name) -> None:
        remove_from_bind(self.server, zone)

    @contextmanager
    def wrong_key(self) -> Iterator[dict[str, Any]]:
        yield self._with(port=self.gateway.port, key_secret=WRONG_SECRET)

    @contextmanager
    def wrong_algorithm(self) -> Iterator[dict[str, Any]]:
        yield self._with(port=self.gateway.port, key_algorithm="hmac-sha512")

    @contextmanager
    def wrong_clock(self) -> Iterator[dict[str, Any]]:
        with self.patch.context() as patch:
            late = _late_clock()
            patch.setattr("dns.message.time", late)
            patch.setattr("dns.renderer.time", late)
            yield {}

    @contextmanager
    def plain_for_tls(self) -> Iterator[dict[str, Any]]:
        yield self._with(port=self.tls_port)

    def _with(self, **kwargs: Any) -> dict[str, Any]:
        own = {
            "host": self.server.address,
            "port": self.server.port,
            "key_name": self.server.key_name,
            "key_secret": self.server.key_secret,
            "key_algorithm": self.server.algorithm,
        }
        return {"class": "octodns_bind.Rfc2136Provider", "kwargs": {**own, **kwargs}}


class ZonefileBench(Bench):
    """A folder: of all that can happen on a network nothing happens to it."""

    type = "zonefile"
    said: ClassVar[Mapping[str, Said]] = {
        "server_failure": Said(
            "ServerFailure", "reload_command ended with status 1: the server is in a bad mood"
        ),
    }
    without: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(("wrong_key", "wrong_algorithm", "wrong_clock"), "nobody is asked who he is"),
        **dict.fromkeys(("untrusted_certificate", "tls_for_plain", "plain_for_tls"), "no network"),
        **dict.fromkeys(("limited", "limited_with_time", "cut_answer", "lost_answer"), "no network"),
        "not_stored": "a file that was written and renamed is there",
    }

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.resources, self._backend = ExitStack(), None

    def options(self) -> dict[str, Any]:
        return {"folder": str(self.folder)}

    def direct_options(self) -> dict[str, Any]:
        return self.options()

    @contextmanager
    def server_failure(self) -> Iterator[dict[str, Any]]:
        yield {"reload_command": ["sh", "-c", "echo the server is in a bad mood >&2; exit 1"]}


class NsdBench(NetworkBench):
    """A secondary, whose primary is another target of the pool: BIND."""

    type = "nsd"
    concerns_new_zones = frozenset({"wrong_algorithm"})  # NSD compares it for transfers alone
    server: Nsd
    said: ClassVar[Mapping[str, Said]] = {
        "wrong_key": Said("AuthenticationFailed", "certificate"),
        "wrong_algorithm": Said("AuthenticationFailed", "REFUSED|refuses"),
        "wrong_clock": Said("AuthenticationFailed", r"the clocks differ by (59|60)\d s.*\(BADTIME\)"),
        "untrusted_certificate": Said("AuthenticationFailed|Unreachable", "certificate"),
        "plain_for_tls": Said("Unreachable", "did not answer: .*(closed|reset)"),
        "tls_for_plain": Said("Unreachable", "doesn't speak TLS"),
        "server_failure": Said("ServerFailure", "error"),
        "cut_answer": Said("Unreachable|OutcomeUnknown", "did not answer: unexpected eof"),
        "lost_answer": Said("OutcomeUnknown", "did not answer"),
        "not_stored": Said("Behind", r"NSD is at serial \d+, and not at \d+"),
    }
    without: ClassVar[Mapping[str, str]] = {
        "limited": "its control protocol has no such answer",
        "limited_with_time": "its control protocol has no such answer",
        "existing_zone": "what a secondary holds is its primary's",
    }

    def __init__(
        self,
        server: Nsd,
        primary: Bind,
        stranger: Nsd,
        certificate: Path,
        patch: pytest.MonkeyPatch,
    ) -> None:
        """`stranger`: one whose certificates the server doesn't know."""
        super().__init__(server, certificate, patch)
        self.primary, self.stranger = primary, stranger
        self._spoil: Spoil = ""
        self.proxy = TlsProxy(server, self._answer)
        self.resources.callback(self.proxy.close)

    def options(self) -> dict[str, Any]:
        return {**self.direct_options(), "control_port": self.proxy.port}

    def direct_options(self) -> dict[str, Any]:
        return self.server.target_options()

    def others(self) -> list[dict[str, Any]]:
        options = {**self.primary.target_options(), "allow_transfer": [self.server.address]}
        return [{"name": "primary", "type": "bind9", "options": options}]

    def spoil(self, what: Spoil) -> None:
        self._spoil = what

    def remove_by_hand(self, zone: Name) -> None:
        self.server.control("delzone", zone.removesuffix("."))

    @contextmanager
    def wrong_key(self) -> Iterator[dict[str, Any]]:
        """Past the proxy, which has a certificate of its own."""
        folder = self.stranger.folder
        files = {f"control_{kind}_file": str(folder / f"nsd_control.{end}") for kind, end in _FILES}
        yield {**files, "control_port": self.server.control_port}

    @contextmanager
    def wrong_algorithm(self) -> Iterator[dict[str, Any]]:
        yield {"tsig_key": f"hmac-sha512:{self.server.key_name}:{self.server.key_secret}"}

    wrong_clock = UpdateBench.wrong_clock

    @contextmanager
    def untrusted_certificate(self) -> Iterator[dict[str, Any]]:
        yield {"server_cert_file": str(self.stranger.folder / "nsd_server.pem")}

    @contextmanager
    def plain_for_tls(self) -> Iterator[dict[str, Any]]:
        """The queries' port: NSD answers there in plain DNS."""
        with tls_only(self.certificate) as port:
            yield {"port": port}

    @contextmanager
    def tls_for_plain(self) -> Iterator[dict[str, Any]]:
        yield {"control_port": self.primary.rndc_port}

    def server_failure(self) -> Any:
        return self._answering(b"error could not do it\n")

    def not_stored(self) -> Any:
        return self._answering(b"ok\n")

    @contextmanager
    def _answering(self, words: bytes) -> Iterator[dict[str, Any]]:
        self.proxy.instead = lambda command: words if command.split()[0] in _WRITES else None
        yield {}
        self.proxy.instead = lambda command: None

    def _answer(self, command: str, answer: bytes) -> bytes | None:
        if self._spoil == "lose" and command.split()[0] in _WRITES:
            return None
        return answer[: len(answer) // 2] if self._spoil == "cut" else answer


_WRITES = ("addzone", "delzone", "transfer", "force_transfer")
_FILES = (("cert", "pem"), ("key", "key"))
