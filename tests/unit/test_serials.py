"""Serials: comparison on the circle, and that a zone's next one is always ahead, never 0, never a jump."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnsworker import serials
from dnsworker.serials import MODULUS, SAFE_STEP

edges = st.sampled_from([0, 1, 2, 2**30, 2**31 - 1, 2**31, 2**31 + 1, MODULUS - 2, MODULUS - 1])
any_serial = st.one_of(st.integers(0, MODULUS - 1), edges)
times = st.one_of(st.integers(1_700_000_000, 2_000_000_000), st.integers(0, 2**33), edges)
parts = st.integers(1, 10_000)


@pytest.mark.parametrize(
    ("serial", "other", "ahead"),
    [
        (2, 1, True),
        (1, 2, False),
        (1, 1, False),
        (0, MODULUS - 1, True),
        (MODULUS - 1, 0, False),
        (2**31 - 1, 0, True),
        (2**31, 0, False),  # RFC 1982, section 3.2: undefined, so not ahead
        (0, 2**31, False),
        (1_795_000_000, 2_026_081_401, False),  # Unix time is behind a serial of the date kind
    ],
)
def test_serials_compare_on_a_circle(serial: int, other: int, ahead: bool) -> None:
    assert serials.is_ahead(serial, other) is ahead


@given(any_serial, any_serial)
def test_of_two_serials_one_is_ahead_unless_they_are_equal_or_opposite(one: int, other: int) -> None:
    ahead = serials.is_ahead(one, other), serials.is_ahead(other, one)
    if one == other or (one - other) % MODULUS == 2**31:
        assert ahead == (False, False)
    else:
        assert sorted(ahead) == [False, True]


def test_the_latest_is_found_across_the_wrap_and_among_gaps() -> None:
    assert serials.latest() is None
    assert serials.latest(None, None) is None
    assert serials.latest(5, None, 7) == 7
    assert serials.latest(MODULUS - 1, 3) == 3
    assert serials.latest(3, MODULUS - 1) == 3


@given(any_serial, st.integers(1, 2**20), st.integers(1, 2**20))
def test_adding_skips_0_and_adds_up(serial: int, first: int, second: int) -> None:
    moved = serials.add(serial, first)
    assert moved != 0
    assert serials.is_ahead(moved, serial)
    assert serials.add(moved, second) == serials.add(serial, first + second)


@given(any_serial.filter(bool), st.integers(-(2**20), 2**20))
def test_going_back_undoes_going_on(serial: int, steps: int) -> None:
    assert serials.add(serials.add(serial, steps), -steps) == serial


@given(st.none() | any_serial, parts, times, st.none() | any_serial)
def test_the_next_serial_is_ahead_by_its_parts_and_no_jump(
    last: int | None, needed: int, now: int, seen: int | None
) -> None:
    chosen = serials.next_serial(last, parts=needed, unix_time=now, highest_seen=seen)
    assert 0 < chosen < MODULUS
    floor = serials.latest(last, seen)
    if floor is None:
        assert chosen == (now % MODULUS or 1)
    else:
        assert needed <= serials.distance(floor, chosen) < SAFE_STEP
        assert serials.is_ahead(chosen, floor)


def test_the_next_serial_is_the_time_where_it_can_be() -> None:
    now = 1_795_000_000
    assert serials.next_serial(None, parts=1, unix_time=now, highest_seen=None) == now
    assert serials.next_serial(now - 10, parts=10, unix_time=now, highest_seen=None) == now
    assert serials.next_serial(now - 10, parts=11, unix_time=now, highest_seen=None) == now + 1
    assert serials.next_serial(now - 10, parts=1, unix_time=now, highest_seen=now + 5) == now + 6
    assert serials.next_serial(2_026_081_401, parts=1, unix_time=now, highest_seen=None) == 2_026_081_402
    assert serials.next_serial(1, parts=1, unix_time=now, highest_seen=None) == 2, "no jump over 2³⁰"
    assert serials.next_serial(MODULUS - 3, parts=1, unix_time=MODULUS, highest_seen=None) == 1


@given(any_serial, any_serial.filter(bool))
def test_a_long_way_is_walked_in_steps(start: int, end: int) -> None:
    walked = serials.steps_between(start, end)
    assert walked[-1] == end
    assert len(walked) <= 6
    assert 0 not in walked
    if start != end:
        for before, after in itertools.pairwise([start, *walked]):
            assert 0 < serials.distance(before, after) < SAFE_STEP


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (1_795_000_000 + 1, False),  # an edit by hand
        (1_795_000_000 + 600, False),  # many
        (1_795_000_000 + 3601, True),
        (1_795_000_000 + 86_400, True),
        (1_795_000_000 + 86_401, False),  # of a moment that is to come
        (2_026_112_601, False),  # a date
        (1_795_000_000 - 3600, False),
    ],
)
def test_a_serial_that_we_may_have_given_and_forgotten_is_a_time_since_our_last(
    found: int, expected: bool
) -> None:
    last = 1_795_000_000
    assert serials.may_be_a_lost_one(found, last, unix_time=last + 86_400) is expected
