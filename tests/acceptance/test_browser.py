"""The web pages as a person sees them, in Chromium: the status page and Flower over one running system."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from selenium.webdriver.common.keys import Keys

from dev.browser import DESKTOP, PHONE, Browser, Screen, without_login
from dev.servers import RabbitMQ
from dev.stack import Stack
from dnsworker import Client
from dnsworker.errors import OperationFailed
from tests.acceptance.comparison import client_of

SMALL = Screen(360, 740, is_phone=True, density=2.0)
SCREENS = (DESKTOP, PHONE, SMALL)
SCRIPT = "<script>document.title='taken'</script>"


@pytest.fixture(scope="module")
def system(system_database: Any) -> Iterator[Stack]:
    """With a RabbitMQ of its own: Flower asks its management for the queues, which counts every 5 s as it
    comes.
    """
    with (
        RabbitMQ(management=True, settings="collect_statistics_interval = 500") as rabbitmq,
        Stack(workers=1, rabbitmq=rabbitmq, database=system_database, flower=True, dashboard=True) as running,
    ):
        yield running


@pytest.fixture(scope="module")
def client(system: Stack) -> Iterator[Client]:
    with client_of(system) as client:
        client.create_zone("example.org", email="hostmaster@example.org").wait(60)
        first, second = ["192.0.2.1", "192.0.2.2"], ["192.0.2.2", "192.0.2.3"]
        client.put_record("example.org", "www", "A", first, ttl=300).wait(60)
        client.put_record("example.org", "www", "A", second, ttl=300).wait(60)
        client.put_record("example.org", "t", "TXT", [f'"{SCRIPT}"']).wait(60)
        yield client


@pytest.fixture(scope="module")
def browser(system: Stack, client: Client) -> Iterator[Browser]:
    with Browser() as browser:
        yield browser


@pytest.fixture(params=SCREENS, ids=["desktop", "phone", "small phone"])
def page(request: pytest.FixtureRequest, browser: Browser) -> Iterator[Browser]:
    """A browser that hasn't complained when the test is over, with nothing beside the screen."""
    browser.look_at(request.param)
    browser.complaints()
    yield browser
    assert browser.complaints() == []
    assert browser.runs("return document.documentElement.scrollWidth <= arguments[0]", request.param.width)
    assert "taken" not in browser.driver.title


def failure(client: Client) -> tuple[str, str]:
    """The id of an operation that is refused, and why."""
    operation = client.create_record("example.org", "www", "A", ["192.0.2.9"])
    with pytest.raises(OperationFailed) as refused:
        operation.wait(60)
    return operation.id, refused.value.message


def test_the_overview_shows_every_server_and_what_has_just_happened(
    page: Browser, system: Stack, client: Client
) -> None:
    page.open(system.dashboard_url)
    assert "1 in all" in page.text("#zones")
    for name in ("bind", "powerdns"):
        assert any(name in card.text and "in step" in card.text for card in page.find_all("#targets li"))
    assert len(page.find_all("#nameservers li")) == 2
    assert page.find("#throughput svg.drawing").get_attribute("aria-label")
    page.until(lambda: page.text("#pulse") == "Live", "the page to be live")
    # Without reloading: what is set here would be gone.
    page.runs("window.isSamePage = true")
    done = client.put_record("example.org", "live", "A", [f"192.0.2.{page.screen.width % 250}"])
    done.wait(60)
    page.until(lambda: page.find_all(f"#ended a[href='/operations/{done.id}']"), "the operation to appear")
    assert page.runs("return window.isSamePage") is True


def test_a_zone_is_found_and_shows_its_way_and_its_history(page: Browser, system: Stack) -> None:
    page.open(system.dashboard_url)
    page.find("#q").send_keys("www.example.org", Keys.ENTER)
    page.until(lambda: page.driver.title.startswith("example.org."), "the zone's page")
    serials = {one.text for one in page.find_all("#way .serial")}
    assert len(serials) == 1, "the database, both targets and both nameservers have the same"
    assert len(page.find_all("#way .node.good")) == 5
    assert "192.0.2.1" in page.text("#history del")
    history = page.text("#history")
    assert "192.0.2.3" in history
    assert SCRIPT in history, "as text"


def test_an_operation_is_found_by_its_id_and_leads_to_its_task(
    page: Browser, system: Stack, client: Client
) -> None:
    operation_id, reason = failure(client)
    page.log_in(system.flower_url)
    page.open(system.dashboard_url)
    page.find("#q").send_keys(operation_id, Keys.ENTER)
    assert reason in page.text("#head .reason")
    page.find("#head a.out").click()
    page.until(lambda: f"/task/{operation_id}" in page.driver.current_url, "the task in Flower")
    said = page.text("body")
    assert "create_record" in said
    assert re.search(r"example\.org\.? www\S* A", said.replace("\n", " "))
    assert reason in said


# --- Flower -----------------------------------------------------------------------------------------------


def test_flower_shows_nothing_without_the_login(system: Stack) -> None:
    with Browser() as stranger:  # one that never had it
        for path in ("", "tasks", "broker", "api/workers"):
            stranger.open(without_login(system.flower_url) + path)
            assert any("401" in one for one in stranger.complaints()), path
            assert not stranger.find_all("main, table, pre"), path


def test_flower_shows_every_worker_online(page: Browser, system: Stack) -> None:
    page.open(page.log_in(system.flower_url))

    def are_listed() -> bool:
        # A list without any has one row as well, which says so.
        names = [row.text for row in page.find_all("#workers-table tbody tr") if "@localhost" in row.text]
        return len(names) == len(system.workers)

    page.until(are_listed, "the workers")
    for row in page.find_all("#workers-table tbody tr"):
        assert "@localhost" in row.text
        assert "Online" in row.text
    assert page.text(".dataTables_scrollFoot").startswith("Total")


def test_flower_finds_an_operation_by_its_id_and_says_in_the_list_why_it_failed(
    page: Browser, system: Stack, client: Client
) -> None:
    done = client.put_record("example.org", "api", "TXT", ['"a-token-to-keep"'])
    done.wait(60)
    failed, reason = failure(client)
    page.open(page.log_in(system.flower_url) + "tasks")
    page.until(lambda: failed[:8] in page.text("#tasks-table tbody"), "the latest tasks")
    assert "sweep" not in page.text("#tasks-table tbody"), "there is one every two seconds"
    row = found_in_flower(page, failed)
    assert "create_record" in row
    assert "example.org. www.example.org. A" in row
    assert "FAILURE" in row
    assert "RecordExists: www.example.org. A exists" in row
    assert_headings_stand_over_their_columns(page)
    row = found_in_flower(page, done.id)
    assert "put_record example.org. api.example.org. TXT SUCCESS ACCEPTED serial" in row
    assert "a-token-to-keep" not in row
    page.find("#tasks-table tbody td a").click()
    page.until(lambda: f"/task/{done.id}" in page.driver.current_url, "the task")
    said = page.text("body")
    assert "example.org. api.example.org. TXT" in said
    assert "a-token-to-keep" not in page.driver.page_source
    page.open(without_login(system.flower_url) + f"task/{failed}")
    assert reason in page.text("body"), "all of it"


def found_in_flower(page: Browser, operation_id: str) -> str:
    """The one row of the list that is left when the id is searched for."""
    field = page.find("#tasks-table_filter input")
    field.clear()
    field.send_keys(operation_id)
    link = f"#tasks-table tbody tr:only-child a[href$='/task/{operation_id}']"
    page.until(lambda: page.find_all(link), f"{operation_id} alone")
    return " ".join(page.text("#tasks-table tbody tr").split())


def assert_headings_stand_over_their_columns(page: Browser) -> None:
    edges = """return [...document.querySelectorAll(arguments[0])].map(
        (one) => Math.round(one.getBoundingClientRect().left))"""
    headings = page.runs(edges, ".dataTables_scrollHead th")
    cells = page.runs(edges, "#tasks-table tbody tr:first-child td")
    assert len(headings) == len(cells) == 6
    assert max(abs(one - other) for one, other in zip(headings, cells, strict=True)) <= 1


# --- The status page on a desktop alone; servers are stopped ------------------------------------------------


def test_the_keyboard_reaches_the_search_and_the_contents(browser: Browser, system: Stack) -> None:
    browser.look_at(DESKTOP)
    browser.open(system.dashboard_url)
    body = browser.find("body")
    body.send_keys("/")
    assert browser.driver.switch_to.active_element.get_attribute("id") == "q"
    browser.open(system.dashboard_url)
    browser.find("body").send_keys(Keys.TAB)
    assert browser.driver.switch_to.active_element.get_attribute("class") == "skip"
    browser.driver.switch_to.active_element.send_keys(Keys.ENTER)
    browser.until(
        lambda: browser.driver.switch_to.active_element.get_attribute("id") == "main", "the contents"
    )


def test_the_page_says_that_the_database_is_away_and_goes_on(browser: Browser, system: Stack) -> None:
    browser.look_at(DESKTOP)
    browser.open(system.dashboard_url)
    browser.until(lambda: browser.text("#pulse") == "Live", "the page to be live")
    if not hasattr(system.database, "pause"):
        pytest.skip("a database in a file is never away")
    system.database.stop()
    try:
        browser.until(lambda: browser.find_all("#notices .bad"), "the notice")
        assert "The database can't be read." in browser.text("#notices")
        assert "1 in all" in browser.text("#zones"), "the last picture stays"
    finally:
        system.database.start()
    browser.until(lambda: not browser.find_all("#notices .bad"), "the notice to go")


def test_flower_shows_how_long_each_queue_is(browser: Browser, system: Stack, client: Client) -> None:
    place = browser.log_in(system.flower_url) + "broker"
    system.worker(0).stop()  # so that something waits
    try:
        waiting = client.put_record("example.org", "queued", "A", ["192.0.2.1"])
        for screen in SCREENS:
            browser.look_at(screen)
            browser.until(
                lambda: _ready_in_intake(browser, place) == "1", "RabbitMQ to have counted it", every_s=1
            )
            assert f"dnsworker:**@{system.rabbitmq.address}" in browser.text(".broker-url"), "no password"
            assert browser.runs("return document.documentElement.scrollWidth") <= screen.width
    finally:
        system.worker(0).start()
    waiting.wait(60)
    browser.until(
        lambda: _ready_in_intake(browser, place) == "0", "RabbitMQ to have counted again", every_s=1
    )


def _ready_in_intake(browser: Browser, place: str) -> str:
    browser.open(place)
    row = browser.find(r"#dns\.intake")
    return row.find_elements("css selector", "td")[3].text
