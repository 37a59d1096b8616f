"""The shipped suite against a folder of zone files, once for itself and once with NSD serving from it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dns.message
import dns.query
import pytest

from backends.zonefile import BACKEND
from dev.servers import Nsd
from dnsworker.backend import Backend
from dnsworker.contents import ZoneContents
from dnsworker.names import Name
from dnsworker.plan import Plan
from dnsworker.testing import BackendConformance, RequestCases, ServerUnderTest
from dnsworker.testing.zone_cases import ZoneCases
from dnsworker.zonefile import parse_zone, zone_text


class FolderUnderTest(ServerUnderTest):
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def options(self) -> dict[str, object]:
        return {"folder": str(self.folder)}

    def new_backend(self) -> Backend:
        return BACKEND("test", BACKEND.options_model.model_validate(self.options()))

    def wipe(self) -> None:
        for path in self.folder.iterdir():
            path.unlink()

    def edit_by_hand(self, plan: Plan) -> None:
        """What an editor does: it writes into the file that is there."""
        path = self.folder / f"{plan.zone}zone"
        rrsets = {each.key: each for each in parse_zone(path.read_text(), plan.zone, 60).rrsets}
        for change in plan.changes:
            rrsets.pop(change.key, None)
            if change.after is not None:
                rrsets[change.key] = change.after
        path.write_text(zone_text(ZoneContents(plan.desired_soa, rrsets, plan.zone)))


class NsdUnderTest(FolderUnderTest):
    """What the reload command does with NSD is in docs/backends/zonefile.md."""

    settle_s = 30  # `nsd-control reload` returns before the zone is loaded

    def __init__(self, folder: Path, server: Nsd) -> None:
        super().__init__(folder)
        self.server = server

    def options(self) -> dict[str, object]:
        script = (
            'if [ -e "$2" ]; then nsd-control -c "$0" addzone "$1" files && nsd-control -c "$0" reload "$1"; '
            'else nsd-control -c "$0" delzone "$1"; fi'
        )
        conf = str(self.server.folder / "nsd.conf")
        return {**super().options(), "reload_command": ["sh", "-ec", script, conf, "{zone}", "{file}"]}

    def start(self) -> None:
        self.server.start()

    def stop(self) -> None:
        self.server.stop()

    def kill(self) -> None:
        self.server.kill()

    def query(self, name: Name, type: str) -> dns.message.Message:
        """A process that ends with a reload may take a connection and close it unanswered: asked again."""
        query = dns.message.make_query(name, type, flags=0)
        deadline = time.monotonic() + 30
        while True:
            try:
                return dns.query.tcp(query, self.server.address, port=self.server.port, timeout=30)
            except (EOFError, ConnectionError):
                if time.monotonic() > deadline:
                    raise


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> FolderUnderTest:
    return FolderUnderTest(tmp_path_factory.mktemp("zones"))


class TestZonefile(BackendConformance):
    backend_class = BACKEND
    without = frozenset(
        {
            # No process to end, no credentials, no network and no answers: a folder.
            *("kill", "lossy", "query", "start", "stop", "wrong_credentials"),
        }
    )


class CountingFolder(FolderUnderTest):
    """Both commands write a line each time."""

    def __init__(self, folder: Path, log: Path) -> None:
        super().__init__(folder)
        self.log = log

    def options(self) -> dict[str, object]:
        command = ["sh", "-c", 'echo run >> "$0"', str(self.log)]
        return {**super().options(), "check_command": command, "reload_command": command}

    def counted(self) -> tuple[Backend, Callable[[], int]]:
        self.log.touch()
        return self.new_backend(), lambda: len(self.log.read_text().splitlines())


class TestRunsOfCommands(RequestCases):
    """They are what counts: a folder has no budget."""

    backend_class = BACKEND
    without = TestZonefile.without

    @pytest.fixture
    def server(self, tmp_path: Path) -> CountingFolder:
        (tmp_path / "zones").mkdir()
        return CountingFolder(tmp_path / "zones", tmp_path / "log")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NsdUnderTest]:
    folder = tmp_path_factory.mktemp("served")
    pattern = f'pattern:\n    name: "files"\n    zonefile: "{folder}/%s.zone"\n'
    with Nsd(patterns=pattern) as nsd:
        yield NsdUnderTest(folder, nsd)


class TestZonefileServedByNsd(ZoneCases):
    """What is written is what a nameserver answers with. Contents and failures are the folder's, above."""

    backend_class = BACKEND
    without = frozenset({"lossy", "wrong_credentials"})

    @pytest.fixture
    def server(self, served: NsdUnderTest) -> NsdUnderTest:
        return served
