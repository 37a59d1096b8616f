"""The retry policy, read as a table."""

from __future__ import annotations

import random

import pytest

from dnsworker import errors
from dnsworker.retry import GiveUp, Retry, back_off, decide

POLICY = {"base_s": 1.0, "cap_s": 60.0, "rng": random.Random(7)}


def every_backend_error(
    base: type[errors.BackendError] = errors.BackendError,
) -> list[type[errors.BackendError]]:
    return [found for sub in base.__subclasses__() for found in (sub, *every_backend_error(sub))]


@pytest.mark.parametrize("kind", [errors.RecordRejected, errors.Unsupported])
def test_a_refusal_is_given_up(kind: type[errors.BackendError]) -> None:
    assert isinstance(decide(kind("no"), 1, **POLICY), GiveUp)


@pytest.mark.parametrize("kind", [errors.ZoneChanged, errors.ZoneMissing, errors.OutcomeUnknown])
def test_what_needs_a_look_is_tried_at_once_after_reading_back(kind: type[errors.BackendError]) -> None:
    assert decide(kind("?"), 1, **POLICY) == Retry(0.0, reads_back=True)
    again = decide(kind("?"), 5, **POLICY)
    assert isinstance(again, Retry)
    assert again.delay_s > 0


@pytest.mark.parametrize("kind", [errors.Unreachable, errors.AuthenticationFailed])
def test_what_concerns_the_whole_target_counts_against_it(kind: type[errors.BackendError]) -> None:
    decision = decide(kind("gone"), 1, **POLICY)
    assert isinstance(decision, Retry)
    assert decision.counts_against_target


def test_a_target_that_asks_for_patience_gets_it() -> None:
    decision = decide(errors.RateLimited("slow down", retry_after_s=90.0), 1, **POLICY)
    assert isinstance(decision, Retry)
    assert decision.delay_s == 90.0


def test_every_error_has_a_decision() -> None:
    for kind in every_backend_error():
        if kind.__module__ == "dnsworker.errors":
            assert isinstance(decide(kind("x"), 3, **POLICY), Retry | GiveUp)


def test_back_off_doubles_up_to_its_cap_with_full_jitter() -> None:
    rng = random.Random(3)
    for attempt, ceiling in [(1, 1.0), (2, 2.0), (5, 16.0), (7, 60.0), (5000, 60.0)]:
        delays = [back_off(attempt, base_s=1.0, cap_s=60.0, rng=rng) for _ in range(300)]
        assert 0 <= min(delays) < 0.1 * ceiling
        assert 0.9 * ceiling < max(delays) <= ceiling
