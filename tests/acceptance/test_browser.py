"""The web pages as a person sees them, in Chromium: the status page and Flower over one running system."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from selenium.webdriver.common.keys import Keys

from dev.browser import DESKTOP, PHONE, Browser, Screen
from dev.stack import Stack
from dnsworker import Client
from dnsworker.errors import OperationFailed
from tests.acceptance.comparison import client_of

SMALL = Screen(360, 740, is_phone=True, density=2.0)
SCRIPT = "<script>document.title='taken'</script>"


@pytest.fixture(scope="module")
def system(system_database: Any) -> Iterator[Stack]:
    """With a RabbitMQ of its own: Flower asks its management for the queues."""
    with Stack(workers=1, database=system_database, flower=True, dashboard=True) as running:
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


@pytest.fixture(params=[DESKTOP, PHONE, SMALL], ids=["desktop", "phone", "small phone"])
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
    page.open(system.flower_url)  # once, for its login
    page.open(system.dashboard_url)
    page.find("#q").send_keys(operation_id, Keys.ENTER)
    assert reason in page.text("#head .reason")
    page.find("#head a.out").click()
    page.until(lambda: f"/task/{operation_id}" in page.driver.current_url, "the task in Flower")
    said = page.text("body")
    assert "dnsworker.create_record" in said
    assert re.search(r"example\.org\.? www\S* A", said.replace("\n", " "))
    assert reason in said


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
