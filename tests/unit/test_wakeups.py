"""A busy target is woken now and then for all that is due, and an idle one at once."""

from __future__ import annotations

import time
from typing import Any

import pytest

from dnsworker import wakeups
from dnsworker.wakeups import CelerySignals


class Signals(CelerySignals):
    def __init__(self) -> None:
        super().__init__(app=None, ca_bundle=None)  # type: ignore[arg-type]
        self.woken: list[str] = []

    def _wake(self, target: str) -> None:
        self.woken.append(target)


@pytest.fixture
def signals(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(wakeups, "WAKE_EVERY_S", 0.05)
    signals = Signals()
    yield signals
    signals.close()


def until(signals: Signals, woken: list[str]) -> None:
    deadline = time.monotonic() + 60
    while signals.woken != woken and time.monotonic() < deadline:
        time.sleep(0.005)
    assert signals.woken == woken


def test_the_first_is_woken_at_once_and_the_rest_of_a_burst_together(signals: Signals) -> None:
    for _ in range(20):
        signals.wake_delivery("one")
    assert signals.woken == ["one"]
    until(signals, ["one", "one"])
    time.sleep(0.15)
    assert signals.woken == ["one", "one"], "nothing is left over"
    signals.wake_delivery("one")
    assert signals.woken == ["one"] * 3


def test_targets_do_not_wait_for_each_other(signals: Signals) -> None:
    signals.wake_delivery("one")
    signals.wake_delivery("one")
    signals.wake_delivery("two")
    assert signals.woken == ["one", "two"]


def test_what_is_closed_wakes_nobody_any_more(signals: Signals) -> None:
    signals.wake_delivery("one")
    signals.wake_delivery("one")
    signals.close()
    time.sleep(0.1)
    assert signals.woken == ["one"]
