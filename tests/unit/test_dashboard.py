"""What the status page decides without a database: who may see it, what is drawn, what is read how often."""

from __future__ import annotations

import base64
import re
import threading
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnsworker.dashboard import plots, words
from dnsworker.dashboard.diffs import LINES_SHOWN, WIDEST, diffs
from dnsworker.dashboard.hour import Hour, Minute, quantile
from dnsworker.dashboard.login import Login, is_loopback
from dnsworker.dashboard.overview import NameserverCard, TargetCard
from dnsworker.dashboard.reading import DatabaseAway
from dnsworker.dashboard.serving import find_login, listening
from dnsworker.dashboard.shared import KEPT, REST, Shared
from dnsworker.errors import ConfigError
from dnsworker.settings import Settings, load_settings
from dnsworker.store.lags import Lag

NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


# --- who may see it --------------------------------------------------------------------------------------


def test_only_the_login_itself_fits() -> None:
    login = Login("ops:päss:wörd")
    assert login.fits(basic("ops:päss:wörd"))
    assert login.fits(basic("ops:päss:wörd").replace("Basic", "basic"))
    for wrong in (
        None, "", "Basic", "Basic ", "Basic !", "Bearer x", basic("ops:"), basic("ops:päss:wör"),
        basic("ops:päss:wörd "), basic("Ops:päss:wörd"), basic(":päss:wörd"), "Basic \N{SNOWMAN}",
    ):  # fmt: skip
        assert not login.fits(wrong), wrong


def test_a_login_is_not_shown() -> None:
    login = Login("ops:a-long-password")
    assert "a-long-password" not in f"{login!r} {login} {vars(login)}"
    assert "a-long-password" not in repr(Settings(dashboard_auth="ops:a-long-password"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "words"),
    [("ops", "a colon"), (":a-long-password", "user:password"), ("ops:short", "at least 8 characters")],
)
def test_a_login_that_is_none_is_refused_without_showing_it(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as refused:
        Login(text)
    assert "short" not in refused.value.message
    assert "a-long-password" not in refused.value.message


def test_without_a_login_only_this_machine_is_served_and_only_when_asked_to() -> None:
    assert find_login(Settings(), "127.0.0.1", no_login=True) is None
    for host, no_login, text in (
        ("127.0.0.1", False, "DNSWORKER_DASHBOARD_AUTH is not set"),
        ("0.0.0.0", False, "DNSWORKER_DASHBOARD_AUTH is not set"),
        ("0.0.0.0", True, "for this machine alone"),
        ("dns.example.net", True, "for this machine alone"),
    ):
        with pytest.raises(ConfigError, match=text):
            find_login(Settings(), host, no_login=no_login)
    with pytest.raises(ConfigError, match="leave out one"):
        find_login(Settings(dashboard_auth="ops:a-long-password"), "::1", no_login=True)  # type: ignore[arg-type]


def test_this_machine_has_these_names() -> None:
    assert all(map(is_loopback, ("localhost", "127.0.0.1", "127.1.2.3", "::1", "[::1]")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "192.0.2.1", "localhost.example.net", "")))


def test_a_port_that_is_taken_is_one_clear_line() -> None:
    with listening("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"127\.0\.0\.1 port {port}: Address already in use"):
            listening("127.0.0.1", port)


@pytest.mark.parametrize(
    "url",
    ["flower", "ftp://flower.example", "http://", "http://u:secret@flower.example", "http://f.example/?a"],
)
def test_an_address_of_flower_that_cannot_be_shown_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="DNSWORKER_FLOWER_URL") as refused:
        load_settings(flower_url=url)
    assert "secret" not in refused.value.message


# --- what is read how often ------------------------------------------------------------------------------


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_many_who_look_at_once_cost_one_reading() -> None:
    shared, reads, is_open = Shared(2.0), [], threading.Event()

    def read() -> str:
        reads.append(1)
        assert is_open.wait(30)
        return "picture"

    async def look() -> None:
        seen: list[Any] = []

        async def one() -> None:
            seen.append((await shared.get("overview", read)).value)

        async with anyio.create_task_group() as group:
            for _ in range(50):
                group.start_soon(one)
            while not reads:
                await anyio.lowlevel.checkpoint()
            is_open.set()
        assert seen == ["picture"] * 50

    anyio.run(look)
    assert len(reads) == 1


def test_it_is_read_again_when_it_is_old_and_somebody_looks() -> None:
    clock, reads = Clock(), []
    shared = Shared(2.0, clock=clock)

    async def look() -> int:
        return (await shared.get("overview", lambda: reads.append(1) or len(reads))).value  # type: ignore[func-returns-value, no-any-return]

    assert anyio.run(look) == 1
    clock.now += 1.9
    assert anyio.run(look) == 1
    clock.now += 3600
    assert len(reads) == 1, "nobody has looked"
    assert anyio.run(look) == 2


def test_a_slow_database_is_left_alone_for_longer() -> None:
    clock, reads = Clock(), []
    shared = Shared(2.0, clock=clock)

    def slowly() -> None:
        reads.append(1)
        clock.now += 5

    async def look() -> None:
        await shared.get("overview", slowly)

    anyio.run(look)
    clock.now += REST * 5 - 1
    anyio.run(look)
    assert len(reads) == 1
    clock.now += 2
    anyio.run(look)
    assert len(reads) == 2


def test_while_the_database_is_away_the_last_picture_stays_with_the_reason() -> None:
    clock = Clock()
    shared = Shared(2.0, clock=clock)
    answers: list[Any] = ["first", DatabaseAway("connection refused"), "second"]

    def read() -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def look() -> Any:
        clock.now += 3
        return await shared.get("overview", read)

    first, away, second = anyio.run(look), anyio.run(look), anyio.run(look)
    assert (first.value, first.error) == ("first", None)
    assert (away.value, away.error, away.read_at) == ("first", "connection refused", first.read_at)
    assert (second.value, second.error) == ("second", None)


def test_an_error_of_ours_is_raised_and_not_kept() -> None:
    shared = Shared(2.0)

    async def look(read: Any) -> Any:
        return await shared.get("overview", read)

    with pytest.raises(ZeroDivisionError):
        anyio.run(look, lambda: 1 / 0)
    assert anyio.run(look, lambda: "fine").value == "fine"


def test_pages_that_nobody_looks_at_any_more_are_forgotten() -> None:
    shared = Shared(3600.0)

    async def look() -> None:
        for number in range(KEPT + 10):
            await shared.get(number, lambda number=number: number)  # type: ignore[misc]

    anyio.run(look)
    assert len(shared._places) == KEPT


# --- what is drawn ---------------------------------------------------------------------------------------


def an_hour(*minutes: tuple[int, int, list[float]]) -> Hour:
    filled = [*[(0, 0, [])] * (60 - len(minutes)), *minutes]
    return Hour(
        tuple(
            Minute(NOON + timedelta(minutes=index), good, bad, tuple(sorted(took)))
            for index, (good, bad, took) in enumerate(filled)
        )
    )


def test_quantiles_are_of_what_there_was() -> None:
    values = [(float(value), 1.0) for value in range(1, 101)]
    assert [quantile(values, share) for share in (0.01, 0.5, 0.95, 1.0)] == [1, 50, 95, 100]
    assert quantile([], 0.5) is None


def test_a_minute_counts_by_what_ended_in_it_and_not_by_its_sample() -> None:
    hour = an_hour((1000, 0, [1.0] * 10), (10, 0, [9.0] * 10))
    assert hour.quantile(0.95) == 1.0
    assert hour.quantile(0.999) == 9.0
    assert (hour.succeeded, hour.failed) == (1010, 0)


def test_bars_stand_on_each_other_and_reach_no_higher_than_the_axis() -> None:
    drawing = plots.ends_plot(an_hour((30, 10, []), (3, 0, [])))
    assert [mark.label for mark in drawing.marks] == ["0", "20", "40"]
    good, bad = drawing.bars[-2].boxes
    assert (good.part, bad.part) == ("good", "bad")
    assert bad.y + bad.height == pytest.approx(good.y)
    assert bad.y == pytest.approx(0)
    assert good.y + good.height == pytest.approx(plots.HEIGHT)
    assert drawing.bars[-2].title == "12:58: 30 succeeded, 10 failed"
    assert drawing.summary.startswith(
        "Operations by minute over the last hour: 33 succeeded, 10 failed, 40 in"
    )


def test_an_empty_hour_has_no_bars() -> None:
    assert plots.ends_plot(an_hour()).bars == ()
    assert plots.durations_plot(an_hour()).bars == ()


@given(st.lists(st.lists(st.floats(0, 1e9), max_size=5), max_size=60))
def test_all_that_is_drawn_is_within_the_drawing(took: list[list[float]]) -> None:
    hour = an_hour(*((len(one), len(one) % 3, one) for one in took))
    for drawing in (plots.ends_plot(hour), plots.durations_plot(hour)):
        for bar in drawing.bars:
            for box in bar.boxes:
                assert -2 <= box.y <= box.y + box.height <= plots.HEIGHT + 2
                assert 0 <= box.x <= box.x + box.width <= plots.WIDTH + 1e-6
        assert all(0 <= mark.percent <= 100.001 for mark in drawing.marks)
        assert len(drawing.marks) >= 2


@given(st.integers(0, 10**9))
def test_an_axis_ends_at_a_round_number_not_far_above(highest: int) -> None:
    top = plots._nice(highest)
    assert highest <= top <= max(2, 2.5 * highest)
    assert re.fullmatch(r"(2|4|1)0*", str(top))


def test_what_there_is_little_of_is_still_to_be_seen() -> None:
    boxes = plots.shares([("good", 100_000), ("busy", 0), ("bad", 1)])
    assert [box.part for box in boxes] == ["good", "bad"]
    assert boxes[1].width > 3
    assert boxes[1].x + boxes[1].width == pytest.approx(plots.WIDTH)
    assert plots.shares([("good", 0)]) == []


# --- what is said ----------------------------------------------------------------------------------------


def journal_row(before: Any, after: Any) -> Any:
    return SimpleNamespace(name="www.example.org.", type="A", serial=7, before=before, after=after)


def test_a_difference_names_what_went_what_came_and_what_stayed() -> None:
    (diff,) = diffs([journal_row({"ttl": 60, "data": ["a", "b"]}, {"ttl": 60, "data": ["b", "c"]})])
    assert [(line.sign, line.text) for line in diff.lines] == [("-", "a"), ("+", "c"), (" ", "b")]


def test_with_another_ttl_every_record_is_another_one() -> None:
    (diff,) = diffs([journal_row({"ttl": 60, "data": ["a"]}, {"ttl": 30, "data": ["a"]})])
    assert [(line.sign, line.ttl, line.text) for line in diff.lines] == [("-", 60, "a"), ("+", 30, "a")]


def test_a_large_difference_is_cut_and_says_so() -> None:
    (diff,) = diffs([journal_row(None, {"ttl": 60, "data": ["x" * 5000, *map(str, range(100))]})])
    assert len(diff.lines) == LINES_SHOWN
    assert diff.more == 101 - LINES_SHOWN
    assert len(diff.lines[0].text) == WIDEST


def target_card(**values: Any) -> TargetCard:
    plain = {"paused": None, "breaker": "closed", "rests_until": None, "blocked": 0, "purging_since": None}
    return TargetCard({**plain, "failing": 0, "failures": 0, "backlog": 0, **values}, Lag(0), None)


@pytest.mark.parametrize(
    ("values", "state"),
    [
        ({}, ("good", "in step")),
        ({"backlog": 2}, ("busy", "working")),
        ({"backlog": 2, "failing": 1}, ("warn", "failing")),
        ({"failures": 1}, ("warn", "failing")),  # a look at it, while nothing is due there
        ({"breaker": "open", "failing": 1, "backlog": 2}, ("bad", "breaker open")),
        ({"breaker": "open", "paused": "paused by hand"}, ("warn", "paused")),
        ({"blocked": 1}, ("bad", "held")),
        ({"rests_until": "2026-01-01T00:00:00+00:00", "backlog": 1}, ("warn", "rests")),
    ],
)
def test_a_target_is_what_matters_most_about_it(values: dict[str, Any], state: tuple[str, str]) -> None:
    assert words.target_state(target_card(**values)) == state


AWAY = {"name": "ns1", "last_error": "Connection refused", "last_error_at": NOON}


@pytest.mark.parametrize(
    ("lag", "seen_s_ago", "error", "cut_off_by", "state"),
    [
        (Lag(0), 3.0, None, None, ("good", "in step")),
        (Lag(0), None, None, None, ("idle", "not asked lately")),
        (Lag(0), 3600.0, None, None, ("idle", "not asked lately")),
        (Lag(3, NOON), 3.0, None, None, ("busy", "behind")),
        (Lag(3, NOON, "timed out"), 3.0, "timed out", None, ("bad", "failing")),
        (Lag(0), 3.0, "timed out", None, ("warn", "failing")),
        (Lag(0), 3.0, None, AWAY, ("warn", "cut off")),
        (Lag(3, NOON), 3.0, None, AWAY, ("bad", "cut off")),
        (Lag(3, NOON), 3.0, "timed out", AWAY, ("bad", "failing")),
    ],
)
def test_a_nameserver_is_what_it_answered_last_and_no_more(
    lag: Lag, seen_s_ago: float | None, error: str | None, cut_off_by: Any, state: tuple[str, str]
) -> None:
    card = NameserverCard("default", "192.0.2.53:53", "ns1", lag, NOON, seen_s_ago, error, NOON, cut_off_by)
    assert words.nameserver_state(card) == state
