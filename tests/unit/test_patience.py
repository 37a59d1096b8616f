"""A message that goes back because the database is away is told of in one line."""

from __future__ import annotations

import io
import logging

import pytest
from celery.exceptions import Reject

from tasks import patience


@pytest.fixture
def written() -> io.StringIO:
    return io.StringIO()


@pytest.mark.parametrize(("error", "is_short"), [
    (Reject("the database is away", requeue=True), True),
    (Reject("nobody foresaw this", requeue=False), False),
    (ZeroDivisionError("nobody foresaw this"), False),
])  # fmt: skip
def test_only_what_goes_back_is_told_without_its_trace(
    written: io.StringIO, error: Exception, is_short: bool
) -> None:
    assert patience.patiently(lambda: 7) == 7
    log, handler = logging.getLogger("celery.app.trace"), logging.StreamHandler(written)
    log.addHandler(handler)
    try:
        raise error from OSError("refused")
    except Exception as exc:
        log.warning("Task %s: %s", "x", exc, exc_info=True)
    finally:
        log.removeHandler(handler)
    assert (written.getvalue().count("\n") == 1) is is_short
