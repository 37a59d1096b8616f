"""What all groups of conformance cases share: the fixtures, and how a case says what it needs.

A case that doesn't concern a backend is none of its class's: pytest doesn't collect it, so that nothing is
skipped and nothing passes without having looked.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, TypeVar

import pytest

from dnsworker.backend import Backend, Capabilities
from dnsworker.testing.lab import Lab
from dnsworker.testing.server import ABILITIES, ServerUnderTest

F = TypeVar("F", bound=Callable[..., None])


@dataclass(frozen=True)
class Needs:
    """What a case needs: abilities of the server, and values of the backend's capabilities."""

    abilities: frozenset[str] = frozenset()
    capabilities: Mapping[str, object] = field(default_factory=dict)

    def are_met(self, without: frozenset[str], capabilities: Capabilities) -> bool:
        return not self.abilities & without and all(
            getattr(capabilities, name) == value for name, value in self.capabilities.items()
        )


def needs(*abilities: str, **capabilities: object) -> Callable[[F], F]:
    """Marks a case: `@needs("kill", "start", fencing="server")`. One without a mark is for everybody."""
    unknown = (set(abilities) - set(ABILITIES)) | (
        set(capabilities) - {each.name for each in fields(Capabilities)}
    )
    if unknown:
        raise TypeError(f"no ability or capability: {', '.join(sorted(unknown))}")

    def mark(case: F) -> F:
        vars(case)["needs"] = Needs(frozenset(abilities), capabilities)
        return case

    return mark


class Case:
    """Base of the groups. Wants a fixture `server`, a `ServerUnderTest`; override what doesn't fit.

    The fixture is the module's, not the class's: servers live longer than a test's instance.
    """

    #: What is tested. Its capabilities decide which cases concern it.
    backend_class: ClassVar[type[Backend] | None] = None
    #: What it declares with the options that it is tested with, where these decide; None: its class's.
    capabilities: ClassVar[Capabilities | None] = None
    #: What the server under test can't do: names of `ServerUnderTest`'s methods that it leaves out, and of
    #: cases that don't concern it. Each wants a reason in a comment.
    without: ClassVar[frozenset[str]] = frozenset()
    #: Test zones lie below this name.
    parent: str = "conformance.test."
    #: Types, of those that `capabilities.types` allows, that this server nevertheless refuses (naming them).
    refused_types: frozenset[str] = frozenset()
    #: Values in one RRset that the server holds; None: 500 and more. BIND 9.18: 100 by default.
    max_values: int | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Take out the cases that don't concern the class: as None, pytest doesn't collect them."""
        super().__init_subclass__(**kwargs)
        cases = {
            name: case
            for each in reversed(cls.__mro__)
            for name, case in vars(each).items()
            if name.startswith("test_") and case is not None
        }
        unknown = cls.without - set(ABILITIES) - cases.keys()
        if unknown:
            raise TypeError(
                f"{cls.__name__}.without names no ability and no case: {', '.join(sorted(unknown))}"
            )
        for name, case in cases.items():
            needed = getattr(case, "needs", Needs())
            declared = cls.declared_capabilities()
            concerns = name not in cls.without and (declared is None or needed.are_met(cls.without, declared))
            setattr(cls, name, case if concerns else None)

    @classmethod
    def declared_capabilities(cls) -> Capabilities | None:
        """What decides which cases concern the class."""
        if cls.capabilities is None and cls.backend_class is not None:
            return cls.backend_class.capabilities
        return cls.capabilities

    @pytest.fixture
    def backend(self, server: ServerUnderTest) -> Iterator[Backend]:
        backend = server.new_backend()
        assert not backend.capabilities.pull, "a pull target needs a primary: give `dnsworker.testing.Fed`"
        yield backend
        backend.close()

    @pytest.fixture
    def lab(self, request: pytest.FixtureRequest, server: ServerUnderTest, backend: Backend) -> Iterator[Lab]:
        """The case's bench. At its end the server goes down and up again, and all must still be there."""
        self._check_declarations(server, backend)
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

    def _check_declarations(self, server: ServerUnderTest, backend: Backend) -> None:
        """What the class leaves out must be what the backend and its server are like."""
        declared = self.declared_capabilities()
        if self.backend_class is None or backend.capabilities != declared:
            pytest.fail(
                f"{type(self).__name__}.backend_class must be the class that is tested (and `capabilities` "
                "what it declares with these options); the backend here has "
                f"{'other capabilities: ' if declared else ''}{backend.capabilities}"
            )
        lacking = {each for each in ABILITIES if not server.can(each)} - self.without
        if lacking:
            pytest.fail(
                f"{type(server).__name__} lacks {', '.join(sorted(lacking))}: write it, or name it in "
                f"{type(self).__name__}.without (and say why)"
            )
