"""What is refused because of what the zone is already, with the numbers, and before anything is written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.world import World, a_world


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with a_world(tmp_path, "one") as world:
        world.create()
        yield world


@pytest.mark.parametrize(
    ("timers", "words"),
    [
        ({"retry": 3600}, "with retry 3600 and refresh 3600"),
        ({"refresh": 600}, "with retry 600 and refresh 600"),
        ({"expire": 4199}, "at least refresh + retry, 4200"),
        ({"refresh": 86_400}, "at least refresh + retry, 87000"),
    ],
)
def test_soa_timers_that_cannot_work_together_are_refused(
    world: World, timers: dict[str, int], words: str
) -> None:
    outcome = world.do("update_zone", **timers)
    assert outcome.code == "InvalidRequest"
    assert words in (outcome.message or "")
    world.succeed("update_zone", refresh=600, retry=599, expire=3600)
    soa = world.servers["one"].zones
    assert [(one.soa.refresh, one.soa.retry, one.soa.expire) for one in soa.values()] == [(600, 599, 3600)]
