"""The arithmetic of budgets: what is promised, whoever asks when."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from dnsworker.budget import SECOND_US, Answer, Budget, take
from dnsworker.pools import Limits

NOW_US = 1_790_000_000 * SECOND_US

budgets = st.builds(
    Budget,
    requests_per_second=st.floats(0.001, 10_000) | st.sampled_from([0.5, 1.0, 2.5, 3.0, 5.0, 7.0]),
    burst=st.integers(1, 50),
)
#: How long after the last one (in intervals), whether in advance, and whether what was kept is trusted.
asks = st.lists(
    st.tuples(
        st.sampled_from([0, 0, 0, 0.3, 0.5, 1, 1.5, 7]), st.booleans(), st.sampled_from([False] * 9 + [True])
    ),
    min_size=1,
    max_size=40,
)


def assert_kept(budget: Budget, granted_us: Sequence[int]) -> None:
    """In no window, its ends included, are there more than burst + rate · seconds."""
    moments = sorted(granted_us)
    for first, begin_us in enumerate(moments):
        for last in range(first, len(moments)):
            count, window_us = last - first + 1, moments[last] - begin_us
            assert count <= budget.burst + window_us / budget.interval_us, f"{count} in {window_us} µs"


def ask(budget: Budget, paid_us: int | None, questions: Sequence[tuple[float, bool, bool]]) -> list[Answer]:
    answers = []
    now_us = NOW_US
    for gap, in_advance, from_empty in questions:
        now_us += int(gap * budget.interval_us)
        patience_us = budget.longest_wait_us if in_advance else 0
        answers.append(take(budget, paid_us, now_us, patience_us=patience_us, from_empty=from_empty))
        paid_us = answers[-1].paid_us
    return answers


@given(budgets, asks, st.none() | st.integers(-100, 100))
def test_no_window_ever_holds_more_than_was_promised(
    budget: Budget, questions: list[tuple[float, bool, bool]], ahead: int | None
) -> None:
    paid_us = None if ahead is None else NOW_US + ahead * budget.interval_us
    answers = ask(budget, paid_us, questions)
    assert_kept(budget, [answer.at_us for answer in answers if answer.is_granted])


@given(budgets, asks)
def test_what_is_paid_for_only_rises_and_a_refusal_takes_nothing(
    budget: Budget, questions: list[tuple[float, bool, bool]]
) -> None:
    answers = ask(budget, NOW_US, questions)
    for before, after in itertools.pairwise(answers):
        assert after.paid_us >= before.paid_us
    for answer in answers:
        again = take(budget, answer.paid_us, answer.now_us, patience_us=0)
        if not answer.is_granted:
            assert again == answer


@given(budgets)
def test_after_a_pause_a_burst_is_to_be_had_at_once_and_one_more_is_not(budget: Budget) -> None:
    answers = ask(budget, NOW_US - budget.interval_us, [(0, False, False)] * (budget.burst + 1))
    assert [answer.is_granted for answer in answers] == [True] * budget.burst + [False]
    assert answers[-1].wait_s == budget.interval_us / SECOND_US


@given(budgets, st.integers(1, 40))
def test_whoever_comes_back_when_told_gets_the_whole_rate(budget: Budget, count: int) -> None:
    paid_us, now_us = NOW_US + budget.burst * budget.interval_us, NOW_US
    for number in range(1, count + 1):
        refused = take(budget, paid_us, now_us, patience_us=0)
        assert not refused.is_granted
        granted = take(budget, refused.paid_us, refused.at_us, patience_us=0)
        assert granted.is_granted
        paid_us, now_us = granted.paid_us, granted.at_us
        assert now_us == NOW_US + number * budget.interval_us


@given(budgets)
def test_a_request_in_advance_goes_before_one_that_is_asked_for_later(budget: Budget) -> None:
    empty_us = NOW_US + budget.burst * budget.interval_us
    reserved = take(budget, empty_us, NOW_US, patience_us=budget.longest_wait_us)
    assert reserved.is_granted
    assert not take(budget, reserved.paid_us, reserved.at_us, patience_us=0).is_granted


@given(budgets)
def test_a_budget_of_which_nothing_is_known_begins_empty(budget: Budget) -> None:
    answer = take(budget, None, NOW_US, patience_us=0)
    assert not answer.is_granted
    assert answer.at_us == NOW_US + budget.interval_us


@given(budgets, st.integers(1, 10**15))
def test_a_clock_that_was_set_back_holds_nobody_up_for_long(budget: Budget, back_us: int) -> None:
    answer = take(budget, NOW_US + back_us, NOW_US, patience_us=0)
    assert answer.at_us - NOW_US <= budget.longest_wait_us + budget.interval_us


def test_a_burst_of_which_nothing_is_said_is_one_seconds_worth_and_at_least_one() -> None:
    for rate, burst in [(5, 5), (2.5, 2), (0.1, 1)]:
        assert Limits(requests_per_second=rate).budget == Budget(rate, burst)
    assert Limits(requests_per_second=5, burst=1).budget == Budget(5, 1)
    assert Limits(burst=3).budget is None
