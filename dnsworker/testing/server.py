"""What the conformance suite may do to a server; written once per kind of server."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import dns.message

from dnsworker.backend import Backend
from dnsworker.names import Name
from dnsworker.plan import Plan

#: What a subclass may leave out.
ABILITIES = ("edit_by_hand", "kill", "lossy", "query", "start", "stop", "wipe", "wrong_credentials")


class ServerUnderTest(ABC):
    """One server, running when the suite gets it.

    Only `new_backend` is a must. What a subclass can't do it leaves out and says so, under the method's name,
    in the suite's `without`, which takes out the cases that need it. What is just missing fails every case.
    """

    #: How long the server may take until it answers queries with what it has accepted. 0: at once.
    settle_s: float = 0.0
    #: What `wrong_credentials` presents: it must show in no message and no repr.
    wrong_secret: str = "bm90IHRoZSBzZWNyZXQgb2YgdGhpcyBzZXJ2ZXIhISE="  # noqa: S105 - of nothing

    @abstractmethod
    def new_backend(self) -> Backend:
        """A backend for this server, its connections its own."""

    def start(self) -> None:
        """Return when it answers; with the data it had. Nothing happens when it runs."""
        raise NotImplementedError

    def stop(self) -> None:
        """An orderly end."""
        raise NotImplementedError

    def kill(self) -> None:
        """`kill -9`."""
        raise NotImplementedError

    def wipe(self) -> None:
        """Lose all data, and run again."""
        raise NotImplementedError

    def edit_by_hand(self, plan: Plan) -> None:
        """What an operator does with the server's own tools: these changes and this SOA, unconditionally."""
        raise NotImplementedError

    def wrong_credentials(self) -> Backend:
        """A backend for this server whose credentials, `wrong_secret`, the server doesn't accept."""
        raise NotImplementedError

    def lossy(self) -> Backend:
        """A backend for this server that never gets the answer to a write that the server has carried out.

        Reads work. `Proxy` makes one of any server that speaks over TCP.
        """
        raise NotImplementedError

    def counted(self) -> tuple[Backend, Callable[[], int]]:
        """A backend for this server, and how many requests have arrived from it so far.

        For `RequestCases` only. `CountingProxy` counts for any server that speaks over TCP.
        """
        raise NotImplementedError

    def query(self, name: Name, type: str) -> dns.message.Message:
        """The server's own answer over DNS, recursion not desired."""
        raise NotImplementedError

    def can(self, ability: str) -> bool:
        """Whether a subclass has written the method of this name."""
        return getattr(type(self), ability) is not getattr(ServerUnderTest, ability)
