"""What all groups of conformance cases share: the fixtures, and how a case says what it needs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dnsworker.backend import Backend
from dnsworker.testing.lab import Lab
from dnsworker.testing.server import ServerUnderTest


class Case:
    """Base of the groups. Wants a fixture `server`, a `ServerUnderTest`; override what doesn't fit.

    The fixture is the module's, not the class's: servers live longer than a test's instance.
    """

    #: What the server under test can't do: names of `ServerUnderTest`'s methods that it leaves out, and of
    #: cases that don't concern it. Each wants a reason in a comment.
    without: frozenset[str] = frozenset()
    #: Test zones lie below this name.
    parent: str = "conformance.test."
    #: Types, of those that `capabilities.types` allows, that this server nevertheless refuses (naming them).
    refused_types: frozenset[str] = frozenset()
    #: Values in one RRset that the server holds; None: 500 and more. BIND 9.18: 100 by default.
    max_values: int | None = None
    #: Restart the server after each case and look again.
    restarts: bool = True

    @pytest.fixture
    def backend(self, server: ServerUnderTest) -> Iterator[Backend]:
        backend = server.new_backend()
        assert not backend.capabilities.pull, "a pull target needs a primary: its own tests"
        yield backend
        backend.close()

    @pytest.fixture
    def lab(self, request: pytest.FixtureRequest, server: ServerUnderTest, backend: Backend) -> Iterator[Lab]:
        """The case's bench. At its end the server is restarted, and everything must still be there."""
        if request.function.__name__ in self.without:
            pytest.skip(f"{type(self).__name__}.without names this case")
        lab = Lab(server, backend, self.parent)
        yield lab
        if server.can("start"):
            server.start()
        if self.restarts and "stop" not in self.without and "start" not in self.without:
            self.need(server, "stop", "start")
            server.stop()
            server.start()
        lab.assert_all_hold()
        if backend.capabilities.creates_zones:
            for name in lab.expected:
                backend.delete_zone(name)

    def need(self, server: ServerUnderTest, *abilities: str) -> None:
        """Skips the case when `without` allows it, fails it when the server just lacks the ability."""
        for ability in abilities:
            if ability in self.without:
                pytest.skip(f"{type(self).__name__}.without names {ability}()")
            if not server.can(ability):
                pytest.fail(
                    f"{type(server).__name__} has no {ability}(): write it, or name it in `without` "
                    "(and say why)"
                )
