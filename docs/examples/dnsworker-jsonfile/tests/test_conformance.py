"""The shipped suite against the backend: `python -m pytest` in this folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from dnsworker_jsonfile import JsonFileBackend, JsonFileOptions

from dnsworker.backend import Backend
from dnsworker.plan import Plan
from dnsworker.testing import BackendConformance, ServerUnderTest


class Folder(ServerUnderTest):
    """The server under test, which is only a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def new_backend(self) -> Backend:
        return JsonFileBackend("test", JsonFileOptions(folder=self.path))

    def wipe(self) -> None:
        for file in self.path.iterdir():
            file.unlink()

    def edit_by_hand(self, plan: Plan) -> None:
        backend = self.new_backend()
        current = backend.read_soa(plan.zone)
        assert current is not None
        backend.apply(Plan(plan.zone, current, plan.desired_soa, plan.changes))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return Folder(tmp_path_factory.mktemp("zones"))


class TestJsonFile(BackendConformance):
    backend_class = JsonFileBackend
    without = frozenset(
        {
            # Files have no process, no network, no credentials, and nobody to ask over DNS.
            *("kill", "lossy", "query", "start", "stop", "wrong_credentials"),
            # A file holds what it is given; the company of a CNAME is judged when an operation is taken in.
            "test_an_alias_beside_other_data_is_never_done_silently",
        }
    )
