"""Knot's control protocol, spoken over its UNIX socket: the one that `knotc` speaks.

In Python, because libknot would have to be of the same version as the server, on the worker's side too.
(libknot/control/control.c, Knot 3.2 to 3.5, read 2026-11-25.)
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from dnsworker.errors import OutcomeUnknown, ServerFailure, Unreachable

_END, _DATA, _EXTRA, _BLOCK = range(4)
_FIRST_ITEM = 16
_ITEMS = (
    "command", "flags", "error", "section", "item", "id", "zone", "owner", "ttl", "type", "data", "filters",
)  # fmt: skip
_CODES = {name: _FIRST_ITEM + number for number, name in enumerate(_ITEMS)}
MAX_ITEM_BYTES = 65535
#: Commands sent ahead of their answers. Both sides' socket buffers hold as many, and their answers.
WINDOW = 64
_PART_BYTES = 65536

Unit = Mapping[str, str]


class CommandFailed(Exception):
    """knotd refuses a command; its words, and of several commands which one (from 0)."""

    def __init__(self, text: str, number: int = 0) -> None:
        super().__init__(text)
        self.text = text
        self.number = number


class ControlSocket:
    """knotd's control socket. It serves one connection at a time (Knot 3.2): be quick, keep none open."""

    def __init__(self, path: str, *, timeout_s: float, announce: Callable[[], None] = lambda: None) -> None:
        """`announce` is called just before each session, which is one request, whatever is said in it.

        Within a session there can be no waiting for a budget: knotd serves nobody else meanwhile, and hangs
        up on whoever is silent for 5 s.
        """
        self.path = path
        self.timeout_s = timeout_s
        self._announce = announce

    def __repr__(self) -> str:
        return f"ControlSocket({self.path})"

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A connection on which knotd listens to nobody else. Raises `Unreachable`."""
        self._announce()
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # A blocking connect waits for a place in the queue; a non-blocking one would fail at once.
            seconds, fraction = divmod(self.timeout_s, 1)
            limit = struct.pack("@ll", int(seconds), int(fraction * 1_000_000))
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
            try:
                connection.connect(self.path)
            except BlockingIOError as exc:
                raise Unreachable(f"{self._silence}: the queue before its control socket is full") from exc
            except OSError as exc:
                raise Unreachable(f"no knotd at the control socket {self.path}: {exc.strerror}") from exc
            session = Session(connection, self)
            # Behind another connection ours would only wait, and a command that was given up would be carried
            # out later. So one that changes nothing goes first.
            session.run("status")
            yield session
            session.end()
        finally:
            connection.close()

    @property
    def _silence(self) -> str:
        return f"knotd at the control socket {self.path} didn't answer within {self.timeout_s:g} s"

    def lost(self, exc: OSError | EOFError, *, changes_something: bool) -> Unreachable | OutcomeUnknown:
        """The error for an answer that didn't come."""
        words = self._silence if isinstance(exc, TimeoutError) else (
            f"knotd closed the control connection at {self.path}"
        )  # fmt: skip
        return OutcomeUnknown(words) if changes_something else Unreachable(words)


class Session:
    """Commands and their answers. Not for two threads at once."""

    def __init__(self, connection: socket.socket, control: ControlSocket) -> None:
        self._connection, self._control = connection, control
        self._received = bytearray()

    def run(self, command: str, **items: str) -> list[Unit]:
        """What knotd says to a command that changes nothing by itself (one within a transaction, say).

        Raises `CommandFailed`, and `Unreachable` without an answer.
        """
        return self._exchange({"command": command, **items}, changes_something=False)

    def commit(self, command: str, **items: str) -> list[Unit]:
        """The same for one that changes something: raises `OutcomeUnknown` without an answer."""
        return self._exchange({"command": command, **items}, changes_something=True)

    def run_all(self, commands: Sequence[Mapping[str, str]]) -> None:
        """`run` for many commands, all of which are sent. Raises for the first that fails."""
        try:
            for start in range(0, len(commands), WINDOW):
                window = commands[start : start + WINDOW]
                self._send(b"".join(_encoded(each) for each in window))
                failures = []
                for number in range(start, start + len(window)):
                    try:
                        self._answer()
                    except CommandFailed as exc:
                        failures.append(CommandFailed(exc.text, number))
                if failures:
                    raise failures[0]
        except (OSError, EOFError) as exc:
            raise self._control.lost(exc, changes_something=False) from exc

    def _exchange(self, command: Unit, *, changes_something: bool) -> list[Unit]:
        try:
            self._send(_encoded(command))
            return self._answer()
        except (OSError, EOFError) as exc:
            raise self._control.lost(exc, changes_something=changes_something) from exc

    def end(self) -> None:
        try:
            self._send(bytes([_END]))
        except OSError:
            return  # everything was answered

    def _send(self, octets: bytes) -> None:
        self._connection.settimeout(self._control.timeout_s)
        self._connection.sendall(octets)

    def _answer(self) -> list[Unit]:
        """The units up to the end of the block; whole within the time-out."""
        deadline = time.monotonic() + self._control.timeout_s
        units: list[Unit] = []
        kind = self._octet(deadline)
        while kind in (_DATA, _EXTRA):
            unit: dict[str, str] = {}
            while (code := self._octet(deadline)) >= _FIRST_ITEM:
                (length,) = struct.unpack(">H", self._octets(2, deadline))
                value = self._octets(length, deadline).decode("utf-8", "replace")
                if code - _FIRST_ITEM < len(_ITEMS):
                    unit[_ITEMS[code - _FIRST_ITEM]] = value
            units.append(unit)
            kind = code
        if kind not in (_BLOCK, _END):
            raise ServerFailure(f"what answers at {self._control.path} is no control socket of Knot")
        for each in units:
            if "error" in each:
                raise CommandFailed(each["error"])
        return units

    def _octet(self, deadline: float) -> int:
        return self._octets(1, deadline)[0]

    def _octets(self, size: int, deadline: float) -> bytes:
        while len(self._received) < size:
            remaining_s = deadline - time.monotonic()
            if remaining_s <= 0:
                raise TimeoutError
            self._connection.settimeout(remaining_s)
            part = self._connection.recv(_PART_BYTES)
            if not part:
                raise EOFError
            self._received += part
        octets = bytes(self._received[:size])
        del self._received[:size]
        return octets


def _encoded(items: Mapping[str, str]) -> bytes:
    """A command as a block. Items longer than `MAX_ITEM_BYTES` are the caller's to refuse."""
    parts = [bytes([_DATA])]
    for name, text in items.items():
        octets = text.encode()
        parts.append(struct.pack(">BH", _CODES[name], len(octets)) + octets)
    return b"".join([*parts, bytes([_BLOCK])])
