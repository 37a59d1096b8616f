"""NSD's control socket: what the `nsd-control` program speaks, one TLS connection for each command.

Separate, and written here, because a process for each command costs several times as much.

The protocol (NSD's remote.c) in short: after the handshake, with a certificate on either side, the client
sends `NSDCT1 <command>` and a newline, the server answers in lines of text and closes. A line that begins
with `error` is a refusal.
"""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dnsworker.errors import AuthenticationFailed, OutcomeUnknown, ServerFailure, Unreachable
from dnsworker.names import Name

#: More than any answer about one zone.
MAX_ANSWER_BYTES = 2**20
_SERIAL = re.compile(r'\s*"?([0-9]+) since')
_NOT_CONFIGURED = re.compile(r"error zone .* not configured\n?")


class CommandFailed(Exception):
    """NSD understood a command and refused it. Never leaves this package."""


@dataclass(frozen=True, slots=True)
class ZoneStatus:
    """What NSD says about a zone that it has been given."""

    pattern: str
    #: `ok`, `refreshing`, `expired`; `primary` or `master` for a zone that it doesn't transfer.
    state: str
    #: Of what it answers with; None before the first transfer.
    served_serial: int | None
    #: Of what it has transferred last, as far as it remembers.
    commit_serial: int | None


class ControlChannel:
    """NSD's `remote-control` at one address."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        server_cert: Path,
        control_cert: Path,
        control_key: Path,
        timeout_s: float,
        announce: Callable[[], None] = lambda: None,
    ) -> None:
        """`announce` is called just before each command, which has a connection of its own."""
        self.host = host
        self.port = port
        self.timeout_s = timeout_s
        self._announce = announce
        self._server_cert, self._control_cert, self._control_key = server_cert, control_cert, control_key

    def __repr__(self) -> str:
        return f"ControlChannel({self.address})"

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    def zone_status(self, zone: Name) -> ZoneStatus | None:
        """None only when NSD says that it hasn't been given the zone."""
        try:
            answer = self.command(f"zonestatus {_plain(zone)}", changes_something=False)
        except CommandFailed as exc:
            if _NOT_CONFIGURED.fullmatch(str(exc)):
                return None
            raise ServerFailure(f"NSD refuses zonestatus: {exc}", zone=zone) from exc
        lines = dict(line.strip().partition(":")[::2] for line in answer.splitlines() if ":" in line)
        if "zone" not in lines or "state" not in lines:
            raise ServerFailure(f"NSD's answer about {zone} can't be read: {answer[:200]!r}", zone=zone)
        return ZoneStatus(
            pattern=lines.get("pattern", "").strip(),
            state=lines["state"].strip(),
            served_serial=_serial(lines.get("served-serial", "")),
            commit_serial=_serial(lines.get("commit-serial", "")),
        )

    def zone_command(self, command: str, zone: Name, *arguments: str) -> str:
        """`addzone`, `transfer` and others. Raises as `command`."""
        return self.command(" ".join((command, _plain(zone), *arguments)), changes_something=True)

    def command(self, text: str, *, changes_something: bool) -> str:
        """What NSD says to `text` (as one would type it after `nsd-control`).

        Raises `CommandFailed` when NSD refuses it, `Unreachable` when it wasn't sent, `OutcomeUnknown` when
        the answer to something that changes something was lost, `AuthenticationFailed`.
        """
        self._announce()
        connection = self._connect()
        try:
            with connection:
                connection.sendall(f"NSDCT1 {text}\n".encode("ascii"))
                answer = self._receive_all(connection)
        except OSError as exc:  # a TLS error is one, too: a connection that was cut
            lost = f"NSD at {self.address} was sent {text.split()[0]!r} and did not answer: {_words(exc)}"
            raise (OutcomeUnknown if changes_something else Unreachable)(lost) from exc
        if answer.startswith("error"):
            raise CommandFailed(answer.strip())
        return answer

    def _connect(self) -> ssl.SSLSocket:
        context = self._context()
        try:
            plain = socket.create_connection((self.host, self.port), self.timeout_s)
        except OSError as exc:
            raise Unreachable(f"no control socket of NSD at {self.address}: {_words(exc)}") from exc
        try:
            # The connection's end must be announced, or the answer may have been cut.
            return context.wrap_socket(plain, suppress_ragged_eofs=False)
        except ssl.SSLCertVerificationError as exc:
            raise AuthenticationFailed(
                f"the certificate of what answers at {self.address} is not the one of {self._server_cert} "
                f"and not signed by it: {exc.verify_message}"
            ) from exc
        except ssl.SSLError as exc:
            if "ALERT" in (exc.reason or ""):
                raise AuthenticationFailed(
                    f"NSD at {self.address} doesn't accept the certificate of {self._control_cert}: "
                    f"{_words(exc)}; it must be signed by the server's (nsd-control-setup)"
                ) from exc
            raise Unreachable(f"what answers at {self.address} doesn't speak TLS: {_words(exc)}") from exc
        except OSError as exc:
            raise Unreachable(f"no TLS with NSD at {self.address}: {_words(exc)}") from exc
        finally:
            # After wrap_socket the socket is the TLS connection's, and this one an empty shell.
            plain.close()

    def _context(self) -> ssl.SSLContext:
        """Made for each connection, so that exchanged certificates are taken up."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        # As nsd-control: the certificate itself is known, the name in it says nothing.
        context.check_hostname = False
        # In TLS 1.3 a client is done before the server has looked at its certificate. Here a command is sent
        # only to a server that has accepted it.
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        files = str(self._server_cert)
        try:
            context.load_verify_locations(self._server_cert)
            files = f"{self._control_cert} with {self._control_key}"
            # An empty password, or OpenSSL would ask for one at the terminal.
            context.load_cert_chain(self._control_cert, self._control_key, password="")
        except (OSError, ValueError) as exc:  # OpenSSL's errors are OSErrors
            raise AuthenticationFailed(f"can't use {files}: {_words(exc)}") from exc
        return context

    def _receive_all(self, connection: ssl.SSLSocket) -> str:
        received = bytearray()
        while part := connection.recv(65536):
            received += part
            if len(received) > MAX_ANSWER_BYTES:
                raise ServerFailure(f"what answers at {self.address} is no control socket of NSD")
        return received.decode("utf-8", "replace")


def _serial(text: str) -> int | None:
    found = _SERIAL.match(text)
    return int(found[1]) if found else None


def _plain(zone: Name) -> str:
    return zone.removesuffix(".") or "."


def _words(exc: Exception) -> str:
    if isinstance(exc, TimeoutError):
        return "timed out"
    if isinstance(exc, ssl.SSLError):
        return (exc.reason or str(exc)).replace("_", " ").lower()
    return getattr(exc, "strerror", None) or str(exc) or type(exc).__name__
