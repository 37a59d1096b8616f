"""The status page over a real database: what it shows, to whom, and when the database is away."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from dev.servers import PostgreSQL
from dev.servers.process import wait_until
from dnsworker.dashboard.guard import HEADERS
from dnsworker.dashboard.login import Login
from dnsworker.dashboard.serving import listening, server_of
from dnsworker.dashboard.site import Site
from dnsworker.dashboard.zones import OPERATIONS_ON_A_PAGE, ZONES_ON_A_PAGE
from dnsworker.errors import RecordRejected
from dnsworker.names import Name
from dnsworker.settings import Settings
from tests.schema import have_schema
from tests.stubserver import StubNameserver, failing, showing
from tests.world import World, a_world

LOGIN = ("ops", "correct horse")
SCRIPT = "<script>alert('x')</script>"
FLOWER = "https://flower.example.net/prefix"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with a_world(tmp_path, "one", "two", pool={"threshold_percentage": 50}) as world:
        yield world


@contextmanager
def serving(url: str, login: Login | None, **settings: Any) -> Iterator[httpx.Client]:
    """The site on a port of its own, and somebody who follows redirects."""
    site = Site(Settings(database_url=url, **settings), login, interval_s=0, rest=0)  # type: ignore[arg-type]
    with listening("127.0.0.1", 0) as listener:
        server = server_of(site)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            wait_until(lambda: server.started or not thread.is_alive(), 30, "the site")
            address = f"http://127.0.0.1:{listener.getsockname()[1]}"
            with httpx.Client(base_url=address, follow_redirects=True, timeout=30) as client:
                yield client
        finally:
            server.should_exit = True
            thread.join()


def client_of(world: World, login: str | None = ":".join(LOGIN), **settings: Any) -> Any:
    url = world.engine.url.render_as_string(hide_password=False)
    return serving(url, login and Login(login), **settings)


@pytest.fixture
def client(world: World) -> Iterator[httpx.Client]:
    with client_of(world, flower_url=FLOWER) as client:
        client.auth = LOGIN
        yield client


def read(client: httpx.Client, path: str, status: int = 200) -> str:
    answer = client.get(path)
    assert answer.status_code == status, answer.text
    return answer.text


def words(html: str) -> str:
    """What is to be read, roughly: no tags, single blanks."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", html))


PAGES = ("/", "/zones", "/zones/example.org", "/operations", "/operations/x", "/search?q=x", "/nowhere",
         "/static/style.css", "/zones?status=X", "/docs", "/openapi.json")  # fmt: skip


# --- who sees it -----------------------------------------------------------------------------------------


def test_nothing_is_shown_without_the_login(client: httpx.Client) -> None:
    for path, auth in product(PAGES, (None, ("ops", "wrong horse"), ("admin", "correct horse"))):
        client.auth = auth  # type: ignore[assignment]
        answer = client.get(path)
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"].startswith('Basic realm="dnsworker"')
        assert answer.text == "Log in to see this page.\n"


def test_a_wrong_login_is_noted_without_what_was_typed(
    client: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    client.get("/", auth=None)
    assert caplog.records == []
    client.get("/", auth=("ops", "a-typed-password"))
    assert "refused a login from" in caplog.text
    assert "a-typed-password" not in caplog.text


def test_every_answer_tells_browsers_what_they_must_not_do(client: httpx.Client) -> None:
    for path, auth in product([*PAGES, "/health/live"], (LOGIN, None)):
        client.auth = auth  # type: ignore[assignment]
        answer = client.get(path, follow_redirects=False)
        assert {name: answer.headers[name] for name in HEADERS} == HEADERS
    policy = HEADERS["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert "http" not in policy
    assert "frame-ancestors 'none'" in policy


def test_it_can_only_be_read(client: httpx.Client) -> None:
    for method, path in product(
        ("POST", "PUT", "DELETE", "PATCH"), ("/", "/zones/example.org", "/health/live")
    ):
        assert client.request(method, path).status_code == 405


def test_without_a_login_it_answers_to_this_machines_names_alone(world: World) -> None:
    with client_of(world, login=None) as client:
        for host in ("127.0.0.1:8053", "localhost", "localhost:8053", "[::1]:8053"):
            assert client.get("/", headers={"Host": host}).status_code == 200, host
        for host in ("rebound.example.net", "rebound.example.net:8053", "192.0.2.1:8053", ""):
            assert client.get("/", headers={"Host": host}).status_code == 421, host


def test_no_page_has_a_script_or_style_of_its_own(world: World, client: httpx.Client) -> None:
    world.create()
    for path in ("/", "/zones", "/zones/example.org", "/operations", "/nowhere"):
        page = client.get(path).text
        assert re.findall(r"<script[^>]*>", page) == ['<script src="/static/live.js" defer>']
        assert not re.search(r"\son\w+=|<style|\sstyle=|javascript:", page)
        places = re.findall(r"""(?:src|href|action)="([^"]*)""", page)
        assert len(places) == len(re.findall(r"(?:src|href|action)=", page)), "all in quotes"
        assert [one for one in places if not one.startswith(("/", "#", FLOWER))] == []


# --- what it shows ---------------------------------------------------------------------------------------


def test_an_empty_system_says_what_to_do(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'empty.db'}"
    have_schema(url)
    with serving(url, None) as client:
        page = words(read(client, "/"))
        assert "run dnsworker pool apply" in page
        assert "Nothing has ended yet." in page
        assert "There is no zone here." in words(read(client, "/zones"))


def test_the_overview_shows_what_fails_and_why(world: World, client: httpx.Client) -> None:
    world.create()
    world.create("healthy.example.")
    world.servers["two"].is_down = True
    waiting = world.put("www", "192.0.2.1")
    world.until(lambda: world.zone()["status"] == "DEGRADED", "never degraded")
    page = read(client, "/")
    said = words(page)
    assert "2 in all" in said
    assert re.search(r"1 ACTIVE all servers have them", said)
    assert re.search(r"1 DEGRADED a server is behind", said)
    two = words(page[page.index('<span class="name">two</span>') :][:3000])
    assert "Backlog 1" in two
    assert "nobody answers" in two
    assert re.search(r"Behind \S+ \S+ UTC", two), "since when"
    assert waiting in page


def test_a_nameserver_is_in_step_only_while_nothing_speaks_against_it(tmp_path: Path) -> None:
    def reply(query: Any) -> Any:
        zone = world.servers["one"].zones.get(Name("example.org."))
        addresses = {key[0].split(".")[0]: one.data[0] for key, one in zone.rrsets.items()} if zone else {}
        return showing(zone.soa.serial if zone else 1, **addresses)(query)

    with StubNameserver(reply) as asked:
        server = {"host": "127.0.0.1", "port": asked.port, "target": "one"}
        with a_world(tmp_path, "one", pool={"nameservers": [server]}) as world, client_of(world) as client:
            client.auth = LOGIN

            def card() -> str:
                return words(read(client, "/").partition('id="nameservers"')[2].partition("</ul>")[0])

            world.create()
            assert "in step" in card()
            world.servers["one"].is_down = True
            waiting = world.put("www", "192.0.2.1")
            world.until(lambda: world.show(waiting).targets[0].attempts > 1, "no attempt")
            assert "in step" not in card()
            assert re.search(r"cut off .* Not there yet 1 zones Behind \S+ \S+ UTC", card())
            assert re.search(r"target one: nobody answers \S+ \S+ UTC", card()), "what, and when"
            asked.reply = failing
            world.servers["one"].is_down = False
            world.until(lambda: world.zone()["targets"][0]["is_current"], "not delivered")
            world.until(lambda: bool(world.zone()["nameservers"][0]["error"]), "not asked")
            assert re.search(r"failing .* Not there yet 1 zones", card())
            assert re.search(r"SERVFAIL\S* \S+ \S+ UTC", card()), "what, and when"
            asked.reply = reply
            world.end_of(waiting)
            assert "in step" in card()


def test_what_waits_says_why(world: World, client: httpx.Client) -> None:
    world.create()
    for server in world.servers.values():
        server.is_down = True
    waiting = world.put("www", "192.0.2.1")
    world.until(lambda: world.show(waiting).targets[0].attempts > 1, "no attempt")
    for path in ("/", "/operations", f"/operations/{waiting}"):
        page = words(read(client, path))
        assert "ACCEPTED" in page
        assert "nobody answers" in page, path


def test_the_last_hour_counts_what_ended(world: World, client: httpx.Client) -> None:
    world.create()
    for number in range(3):
        world.succeed("put_record", name=f"h{number}", type="A", data=["192.0.2.1"])
    world.do("create_record", name="h1", type="A", data=["192.0.2.1"])
    page = read(client, "/")
    assert "Operations by minute over the last hour: 4 succeeded, 1 failed" in page
    assert re.search(r"From submission to ACTIVE over the last hour: half of the operations within \d", page)
    world.succeed("put_record", name="later", type="A", data=["192.0.2.1"])
    assert "over the last hour: 5 succeeded, 1 failed" in read(client, "/")


def test_a_zones_page_shows_its_way_and_its_history(world: World, client: httpx.Client) -> None:
    world.create()
    world.succeed("put_record", name="www", type="A", data=["192.0.2.1", "192.0.2.2"], ttl=300)
    world.succeed(
        "put_record", name="www", type="A", data=["192.0.2.2", "192.0.2.3"], ttl=300, comment="moved"
    )
    refused = world.do("create_record", name="www", type="A", data=["192.0.2.9"])
    page = read(client, "/zones/example.org")
    said = words(page)
    assert f"database {world.zone()['serial']}" in said
    assert len(re.findall(rf"(?:one|two) {world.zone()['serial']} has it, since \S+ \S+ UTC", said)) == 2
    newest = page.index(refused.id)
    assert "RecordExists: www.example.org. A exists already" in words(page[newest:])
    assert "moved" in said
    removed, added = re.findall(r"<del>.*?</del>", page, re.S), re.findall(r"<ins>.*?</ins>", page, re.S)
    assert ["removed: 300 192.0.2.1" in words(one) for one in removed] == [True]
    assert "added: 300 192.0.2.3" in words(added[0])
    assert said.index("create record") < said.index("moved") < said.index("create zone"), "the newest first"


def test_a_refused_change_is_shown_and_taken_back(world: World, client: httpx.Client) -> None:
    world.create()
    for server in world.servers.values():
        server.judge = lambda rrsets: (
            RecordRejected("no such luck") if any(one.type == "TXT" for one in rrsets) else None
        )
    failed = world.do("put_record", name="x", type="TXT", data=['"y"'])
    page = words(read(client, f"/operations/{failed.id}"))
    assert "ERROR" in page
    assert "no such luck" in page
    assert "added:" in page
    assert "removed:" in page


def test_a_deleted_zone_keeps_its_history(world: World, client: httpx.Client) -> None:
    world.create()
    world.succeed("put_record", name="www", type="A", data=["192.0.2.1"])
    world.succeed("delete_zone")
    page = words(read(client, "/zones/example.org"))
    assert "DELETED" in page
    assert "delete zone" in page
    assert "192.0.2.1" in page
    assert "example.org." in read(client, "/zones?status=DELETED")
    assert "example.org." not in read(client, "/zones")


def test_an_operation_leads_to_its_task_in_flower(world: World, client: httpx.Client) -> None:
    operation_id = world.create().id
    link = f'href="{FLOWER}/task/{operation_id}"'
    assert link in read(client, f"/operations/{operation_id}")
    with client_of(world) as without:
        without.auth = LOGIN
        assert "lower" not in read(without, f"/operations/{operation_id}")


def test_whatever_strangers_write_is_text(world: World, client: httpx.Client) -> None:
    world.create()
    world.succeed("put_record", name="t", type="TXT", data=[f'"{SCRIPT}"'], comment=SCRIPT)
    world.servers["two"].judge = lambda rrsets: RecordRejected(f"no {SCRIPT}") if rrsets else None
    world.put("u", "192.0.2.1")
    world.until(lambda: bool(world.zone()["targets"][1]["withheld"]), "nothing was refused")
    hostile = world.submit("put_record", operation_id=SCRIPT, name="v", type="A", data=["192.0.2.1"])
    pages = ["/", "/zones", "/zones/example.org", "/operations?view=ended", "/operations"]
    for path in [*pages, f"/zones/{SCRIPT}", f"/zones?from={SCRIPT}", f"/zones?status={SCRIPT}"]:
        page = client.get(path).text
        assert "<script>" not in page, path
    assert "&lt;script&gt;" in read(client, "/zones/example.org")
    assert "no &lt;script&gt;" in read(client, "/")
    assert "&lt;script&gt;" in read(client, f"/operations/{hostile.replace('/', '%2F')}")


# --- finding things --------------------------------------------------------------------------------------


def test_a_search_leads_to_the_zone_that_holds_the_name(world: World, client: httpx.Client) -> None:
    for zone in ("example.org.", "sub.example.org.", "0/25.2.0.192.in-addr.arpa."):
        world.create(zone)
    for text, place in (
        ("example.org", "/zones/example.org."), (" EXAMPLE.org. ", "/zones/example.org."),
        ("www.deep.example.org", "/zones/example.org."), ("*.example.org", "/zones/example.org."),
        ("sub.example.org", "/zones/sub.example.org."),
        ("0/25.2.0.192.in-addr.arpa", "/zones/0%2F25.2.0.192.in-addr.arpa."),
        ("example", "/zones?from=example"), ("exam ple;", "/zones?from=exam+ple%3B"), ("", "/zones"),
    ):  # fmt: skip
        answer = client.get("/search", params={"q": text}, follow_redirects=False)
        assert (answer.status_code, answer.headers["Location"]) == (303, place)
        assert client.get("/search", params={"q": text}).status_code == 200


def test_a_search_for_an_id_leads_to_the_operation(world: World, client: httpx.Client) -> None:
    operation_id = world.create().id
    answer = client.get("/search", params={"q": operation_id}, follow_redirects=False)
    assert answer.headers["Location"] == f"/operations/{operation_id}"
    odd = world.submit("put_record", operation_id="//evil.example/x", name="v", type="A", data=["192.0.2.1"])
    answer = client.get("/search", params={"q": odd}, follow_redirects=False)
    assert answer.headers["Location"] == "/operations/%2F%2Fevil.example%2Fx"
    assert client.get(answer.headers["Location"]).status_code == 200


def test_a_living_zone_above_is_found_before_a_dead_one(world: World, client: httpx.Client) -> None:
    world.create()
    world.create("sub.example.org.")
    world.succeed("delete_zone", zone="sub.example.org.")
    for text, place in (("www.sub.example.org", "example.org."), ("sub.example.org", "sub.example.org.")):
        answer = client.get("/search", params={"q": text}, follow_redirects=False)
        assert answer.headers["Location"] == f"/zones/{place}"


def test_zones_are_leafed_through_without_losing_one(world: World, client: httpx.Client) -> None:
    names = {f"z{number:03}.example." for number in range(2 * ZONES_ON_A_PAGE + 7)}
    for name in names:
        world.submit("create_zone", zone=name, email="a@example.net")
    found: list[str] = []
    path: str | None = "/zones"
    while path:
        page = read(client, path)
        found += re.findall(r'<th scope="row">\s*<a class="name" href="[^"]*">([^<]*)', page)
        following = re.search(r'rel="next" href="([^"]*)"', page)
        path = following[1].replace("&amp;", "&") if following else None
    assert found == sorted(names)
    later = read(client, "/zones?status=PENDING&from=z100")
    assert "z100.example." in later
    assert "z099.example." not in later


def test_a_history_is_leafed_through_without_losing_one(world: World, client: httpx.Client) -> None:
    created = world.create().id
    # Of one moment: as a batch is.
    ids = [world.put(f"h{number}", "192.0.2.1") for number in range(OPERATIONS_ON_A_PAGE + 5)]
    with world.engine.begin() as connection:
        connection.execute(
            sa.text("UPDATE operation SET received_at = (SELECT max(received_at) FROM operation)")
        )
    first = read(client, "/zones/example.org")
    following = re.search(r'rel="next" href="([^"]*)"', first)
    assert following
    second = read(client, following[1].replace("&amp;", "&"))
    assert 'rel="next"' not in second
    found = [re.findall(r'<li id="operation-([^"]*)"', page) for page in (first, second)]
    assert len(found[0]) == OPERATIONS_ON_A_PAGE
    assert sorted(found[0] + found[1]) == sorted([created, *ids])


def test_what_is_not_there_is_said_in_one_line(world: World, client: httpx.Client) -> None:
    world.create()
    for path in (
        "/zones/nowhere.example", "/zones/a..b", "/zones/%00", "/zones/example.org?pool=other",
        "/zones/example.org?pool=%00", "/search?q=a%00", "/zones?from=%00", "/operations/x",
        "/operations/%00", "/zones?status=active", "/zones?after=x", "/zones?after=a~b",
        "/operations?view=all", "/operations?view=ended&before=x~y",
        "/operations?view=ended&before=2026-01-01~y",
        f"/search?q={'x' * 2000}", "/zones/example.org?before=~",
    ):  # fmt: skip
        assert "Nothing there" in read(client, path, 404), path


# --- as new as the database, and no newer than it must be ------------------------------------------------


def test_what_has_not_changed_is_not_sent_again(world: World, client: httpx.Client) -> None:
    world.create()
    tag = client.get("/zones/example.org").headers["ETag"]
    again = client.get("/zones/example.org", headers={"If-None-Match": tag})
    assert (again.status_code, again.content) == (304, b"")
    world.succeed("put_record", name="www", type="A", data=["192.0.2.1"])
    assert client.get("/zones/example.org", headers={"If-None-Match": tag}).status_code == 200


def test_while_the_database_is_away_the_page_says_so_and_recovers(
    postgresql: PostgreSQL, database_url: str, tmp_path: Path
) -> None:
    name = database_url.rpartition("/")[2]
    with a_world(tmp_path, url=database_url) as world:
        world.create()
        with client_of(world) as client:
            client.auth = LOGIN
            assert "example.org." in read(client, "/")
            postgresql.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
            postgresql.execute(
                f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
            )
            try:
                page = words(read(client, "/"))
                assert "The database can't be read." in page
                assert "not currently accepting connections" in page
                assert "example.org." in page, "the last picture stays"
                never = words(read(client, "/zones/other.example", 503))
                assert "Nothing can be shown now" in never
                assert client.get("/health/live", auth=None).json() == {"status": "live"}
                ready = client.get("/health/ready", auth=None)
                assert (ready.status_code, ready.json()["reason"]) == (503, "the database is away")
            finally:
                postgresql.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
            assert "can't be read" not in words(read(client, "/"))
            assert client.get("/health/ready").json() == {"status": "ready"}


def test_a_restarted_database_is_noticed_by_nobody(
    postgresql: PostgreSQL, database_url: str, tmp_path: Path
) -> None:
    name = database_url.rpartition("/")[2]
    with a_world(tmp_path, url=database_url) as world, client_of(world) as client:
        client.auth = LOGIN
        read(client, "/")
        postgresql.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
        assert "can't be read" not in read(client, "/")


def test_health_is_told_to_machines_without_a_login(client: httpx.Client) -> None:
    client.auth = None
    assert client.get("/health/live").json() == {"status": "live"}
    assert client.get("/health/ready").json() == {"status": "ready"}
    assert client.get("/health/").status_code == 401


def test_a_database_of_another_version_is_named(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'old.db'}"
    with serving(url, None) as client:
        assert "run `dnsworker db upgrade`" in words(read(client, "/", 503))
        assert client.get("/health/ready").status_code == 503


def test_an_id_that_claims_to_be_from_the_far_future_breaks_no_page(
    world: World, client: httpx.Client
) -> None:
    world.create()
    future = "ffffffff-ffff-7fff-bfff-ffffffffffff"
    for server in world.servers.values():
        server.is_down = True
    world.put("www", "192.0.2.1", operation_id=future)
    for path in ("/", "/operations", f"/operations/{future}", "/zones/example.org"):
        assert future in read(client, path)
