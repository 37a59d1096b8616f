"""What all groups of conformance cases share: the fixtures, and how a case says what it needs."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import pytest

from dnsworker.backend import Backend
from dnsworker.testing.lab import Lab
from dnsworker.testing.server import ABILITIES, ServerUnderTest


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

    @pytest.fixture
    def backend(self, server: ServerUnderTest) -> Iterator[Backend]:
        backend = server.new_backend()
        assert not backend.capabilities.pull, "a pull target needs a primary: its own tests"
        yield backend
        backend.close()

    @pytest.fixture
    def lab(self, request: pytest.FixtureRequest, server: ServerUnderTest, backend: Backend) -> Iterator[Lab]:
        """The case's bench. At its end the server goes down and up again, and all must still be there."""
        if request.function.__name__ in self.without:
            pytest.skip(f"{type(self).__name__}.without names this case")
        lacking = {each for each in ABILITIES if not server.can(each)} - self.without
        if lacking:
            pytest.fail(
                f"{type(server).__name__} lacks {', '.join(sorted(lacking))}: write it, or name it in "
                f"{type(self).__name__}.without (and say why)"
            )
        lab = Lab(server, backend, self.parent)
        yield lab
        if server.can("start") and server.can("stop"):
            server.start()  # a case may have ended with the server down
            # Half of the cases end in an orderly way; always the same, so that a failure can be repeated.
            ends_badly = server.can("kill") and zlib.crc32(request.node.name.encode()) % 2
            server.kill() if ends_badly else server.stop()
            server.start()
        lab.assert_all_hold()
        if backend.capabilities.creates_zones:
            for name in lab.expected:
                backend.delete_zone(name)

    def need(self, server: ServerUnderTest, *abilities: str) -> None:
        """Skips the case where `without` says that the server can't do that."""
        for ability in abilities:
            if ability in self.without or not server.can(ability):
                pytest.skip(f"{type(self).__name__}.without names {ability}()")
