"""When convoys set out: alone, unless one leaves others behind, and not at once where there is much to do."""

from __future__ import annotations

import time

import pytest

from dnsworker import departures
from dnsworker.departures import BUSY_OPERATIONS, LEFT_BEHIND_EVERY_S, PAUSE_RATIO, Departures

TOOK_S = 0.01


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, to be set."""
    moment = [1000.0]
    monkeypatch.setattr(departures.time, "monotonic", lambda: moment[0])
    assert time.monotonic() == 1000.0
    return moment


def test_one_is_under_way_at_a_time(clock: list[float]) -> None:
    place = Departures(0.2)
    assert place.enter()
    place.set_out(is_full=False)
    assert not place.enter()
    place.leave(1, TOOK_S)
    assert place.enter()


def test_one_that_was_full_lets_others_set_out_beside_it(clock: list[float]) -> None:
    place = Departures(0.2)
    assert place.enter()
    assert not place.enter(), "nobody knows yet how many there are"
    place.set_out(is_full=True)
    assert place.enter()
    place.set_out(is_full=False)
    assert not place.enter()


def test_whoever_came_by_is_known_once(clock: list[float]) -> None:
    place = Departures(0.2)
    assert place.enter()
    assert not place.enter()
    is_marked, _ = place.leave(0, TOOK_S)
    assert is_marked
    assert place.enter()
    is_marked, _ = place.leave(0, TOOK_S)
    assert not is_marked


def test_a_system_at_rest_never_pauses(clock: list[float]) -> None:
    place = Departures(0.2)
    assert place.enter()
    place.set_out(is_full=False)
    assert place.leave(BUSY_OPERATIONS - 1, 5.0) == (False, 0.0)
    assert place.enter()


def test_after_a_busy_one_there_is_a_pause_of_what_it_took(clock: list[float]) -> None:
    place = Departures(0.2)
    assert place.enter()
    place.set_out(is_full=False)
    _, pause_s = place.leave(BUSY_OPERATIONS, TOOK_S)
    assert pause_s == pytest.approx(PAUSE_RATIO * TOOK_S)
    clock[0] += pause_s * 0.99
    assert not place.enter()
    clock[0] += pause_s * 0.02
    assert place.enter()
    assert place.leave(0, TOOK_S) == (False, 0.0), "who came during the pause is told by its end"


@pytest.mark.parametrize(("most_s", "pause_s"), [(0.2, 0.2), (0.0, 0.0)])
def test_the_pause_is_bounded_and_can_be_had_without(
    clock: list[float], most_s: float, pause_s: float
) -> None:
    place = Departures(most_s)
    assert place.enter()
    place.set_out(is_full=False)
    assert place.leave(BUSY_OPERATIONS, 60.0) == (False, pause_s)
    assert place.enter() is not bool(pause_s)


def test_a_full_one_is_followed_at_once(clock: list[float]) -> None:
    place = Departures(0.2)
    assert place.enter()
    place.set_out(is_full=True)
    assert place.leave(10 * BUSY_OPERATIONS, TOOK_S) == (False, 0.0)
    assert place.enter()


def test_what_goes_by_itself_is_looked_for_now_and_then(clock: list[float]) -> None:
    place = Departures(0.2)
    assert place.may_look_for_left_behind()
    assert not place.may_look_for_left_behind()
    clock[0] += LEFT_BEHIND_EVERY_S
    assert place.may_look_for_left_behind()
