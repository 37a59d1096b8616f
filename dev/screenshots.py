"""The pictures of the documentation: `python -m dev.screenshots` makes docs/images anew.

A real system is started, given some hundred changes, and looked at in Chromium. What took place within a
minute is then spread over the last hour, or the plots would have two bars; how long each change took stays as
it was.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dev.browser import DESKTOP, PHONE, Browser, Screen
from dev.program import ROOT
from dev.servers import PostgreSQL, ServerError
from dev.servers.process import wait_until
from dev.stack import Stack, stop_in_order
from dnsworker import Change, Client
from dnsworker.errors import OperationFailed

IMAGES = ROOT / "docs" / "images"
ZONES = 60
CHANGES = 240
#: Of the pictures: what is below isn't of interest at that size.
DESKTOP_HEIGHT, PHONE_HEIGHT = 1250, 1500
#: On which the whole of Flower's list is to be seen.
WIDE = Screen(1500, 640)
WAIT_S = 120.0
SPREAD = """
    UPDATE operation SET received_at = received_at - moved.by, accepted_at = accepted_at - moved.by,
                         finished_at = finished_at - moved.by
    FROM (SELECT id AS moved_id,
                 interval '1 minute'
                 * floor(59 * (('x' || substr(md5(id), 1, 6))::bit(24)::int / 16777216.0)) AS by
          FROM operation) AS moved
    WHERE moved_id = id AND finished_at IS NOT NULL AND zone <> 'example.org.'
"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m dev.screenshots", description=__doc__.splitlines()[0])
    parser.add_argument("--to", type=Path, default=IMAGES, metavar="FOLDER", help="instead of docs/images")
    folder = parser.parse_args().to
    stop_in_order()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with PostgreSQL() as database, Stack(database=database, flower=True, dashboard=True) as stack:
            broker, result = (stack.env[f"DNSWORKER_{name}_URL"] for name in ("BROKER", "RESULT"))
            with Client(broker, result) as client, Browser() as browser:
                for name in _all(stack, client, browser, folder):
                    print(f"{folder / name}.png", flush=True)
    except ServerError as exc:
        print(exc, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0
    return 0


def _all(stack: Stack, client: Client, browser: Browser, folder: Path) -> Iterator[str]:
    refused = _fill(client)
    # Before there is trouble: then Flower has little but attempts at the server that is away.
    yield from _flower_pictures(stack, browser, refused, folder)
    _spread(stack)
    _trouble(stack, client)
    yield from _pictures(stack, browser, refused, folder)


def _fill(client: Client) -> str:
    """Zones and changes, all of which have ended; the id of one that was refused."""
    random_ = random.Random(7)
    words = ("shop", "mail", "app", "iot")
    names = [f"{word}{number}.example" for number in range(ZONES // 4) for word in words]
    email = "hostmaster@example.org"
    for operation in [client.create_zone(name, email=email) for name in [*names, "example.org"]]:
        operation.wait(WAIT_S)
    waiting = [
        client.put_record(random_.choice(names), f"h{number % 40}", "A", [f"192.0.2.{number % 250 + 1}"])
        for number in range(CHANGES)
    ]
    for operation in waiting:
        operation.wait(WAIT_S)
    web, mail = ["192.0.2.1", "192.0.2.2"], ["192.0.2.25"]
    for operation in (
        client.put_record("example.org", "www", "A", web, ttl=300, comment="two web servers"),
        client.change_zone(
            "example.org",
            [Change.put("mail", "A", mail), Change.put("@", "MX", ["10 mail.example.org."])],
            comment="mail moves in-house",
        ),
        client.put_record("example.org", "@", "TXT", ['"v=spf1 mx -all"']),
        client.put_record(
            "example.org", "www", "A", ["192.0.2.2", "192.0.2.7"], ttl=300, comment="web-1 retires"
        ),
    ):
        operation.wait(WAIT_S)
    refused = client.create_record("example.org", "www", "A", ["192.0.2.9"])
    try:
        refused.wait(WAIT_S)
    except OperationFailed:
        return refused.id
    raise ServerError(f"{refused.id} should have been refused")


def _spread(stack: Stack) -> None:
    name = stack.env["DNSWORKER_DATABASE_URL"].rpartition("/")[2]
    stack.postgresql.execute(SPREAD, database=name)


def _trouble(stack: Stack, client: Client) -> None:
    """One of the two servers goes away while changes come."""
    stack.powerdns.stop()
    waiting = [client.put_record("shop0.example", "api", "A", ["192.0.2.80"], comment="the new API")]
    waiting += [client.put_record("mail1.example", "imap", "A", ["192.0.2.81"])]

    def is_known(one: Any) -> bool:
        return any(target.attempts > 2 for target in one.outcome().targets)

    for one in waiting:
        wait_until(lambda one=one: is_known(one), WAIT_S, "the failure")  # type: ignore[misc]


def _pictures(stack: Stack, browser: Browser, refused: str, folder: Path) -> Iterator[str]:
    """Makes each and gives its name."""
    site = stack.dashboard_url
    pages: list[tuple[str, str, Screen, bool]] = [
        ("overview", "", DESKTOP, False),
        ("overview-dark", "", DESKTOP, True),
        ("overview-phone", "", PHONE, False),
        ("zone", "zones/example.org", DESKTOP, False),
        ("zone-dark", "zones/example.org", DESKTOP, True),
        ("zone-phone", "zones/example.org", PHONE, True),
        ("operation", f"operations/{refused}", DESKTOP, False),
        ("operations-phone", "operations", PHONE, False),
    ]
    for name, path, screen, is_dark in pages:
        browser.look_at(screen, is_dark=is_dark)
        browser.open(site + path)
        browser.until(lambda: browser.text("#pulse") == "Live", "the page to be live")
        height = PHONE_HEIGHT if screen.is_phone else DESKTOP_HEIGHT
        browser.picture(folder / f"{name}.png", height=height)
        yield name


def _flower_pictures(stack: Stack, browser: Browser, refused: str, folder: Path) -> Iterator[str]:
    site = browser.log_in(stack.flower_url)
    pages = [
        ("flower-workers", "workers", "#workers-table td", DESKTOP),
        ("flower-tasks", "tasks", "#tasks-table td a", WIDE),
        ("flower-task", f"task/{refused}", ".task-details-card", DESKTOP),
    ]
    for name, path, contents, screen in pages:
        browser.look_at(screen)
        browser.open(site + path)
        browser.find(contents)
        browser.picture(folder / f"{name}.png")
        yield name


if __name__ == "__main__":
    sys.exit(main())
