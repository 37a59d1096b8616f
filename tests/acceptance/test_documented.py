"""What README and docs tell people to type, typed: on a system of its own, servers stopped where they say so.

What a block shows is compared with what comes, but for what is another each time: ids, times, serials, ports.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import subprocess
import sys
import textwrap
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jsonschema
import pytest
import redis
import sqlalchemy as sa
import yaml

from dev import greeting
from dev.commands import run_here
from dev.pool import pool_of, to_yaml
from dev.program import ROOT
from dev.stack import Stack
from dnsworker import Client
from dnsworker.pools import load_pools
from tests.acceptance.comparison import client_of, texts, wait_for
from tests.documented import block, blocks_in

BACKUP = "docs/operating/backup.md"
ZONE = "example.org."
DATABASE = os.environ.get("DNSWORKER_TEST_DATABASE", "postgresql")
#: In this order. A column's width goes by what is in it, so blanks count as one.
MASKS = (
    (r"[0-9a-f]{8}-[0-9a-f-]{27}", "ID"),
    (r"\d{4}-\d\d-\d\dT[\d:.]+\+00:00", "TIME"),
    (r"127\.0\.0\.1:\d+", "SERVER"),
    (r"\b1\d{9}\b", "SERIAL"),
    (r"\d[\d.]* (?:ms|s|min)\b(?: ago)?", "AWHILE"),
    (r"next attempt (?:now|in AWHILE)", "next attempt SOON"),
    (r"\battempt \d+", "attempt N"),
    (r" +", " "),
    (r" (?=\n|$)", ""),
    # The attempts of a delivery that fails, and when the next one is or was due: a busy worker is late.
    (r"(bind present SERIAL) \d+ (?:in )?AWHILE", r"\1 N SOON"),
)


@pytest.fixture(scope="module")
def own(shared_servers: dict[str, Any]) -> Iterator[Stack]:
    with Stack(workers=2, **shared_servers) as running:
        yield running


@pytest.fixture
def client(own: Stack) -> Iterator[Client]:
    with client_of(own) as client:
        yield client


@pytest.fixture
def example(own: Stack, client: Client) -> Iterator[str]:
    """The zone of the examples, empty, and gone at the end."""
    client.create_zone(ZONE, email="hostmaster@example.org").wait(60)
    yield ZONE
    remove(client)


@pytest.fixture
def no_example(client: Client) -> Iterator[None]:
    yield
    remove(client)


def remove(client: Client) -> None:
    client.delete_zone(ZONE).wait(60)


def masked(text: str) -> list[str]:
    for pattern, name in MASKS:
        text = re.sub(pattern, name, text)
    return text.strip().splitlines()


def typed(own: Stack, line: str, env: dict[str, str] | None = None, **paths: str) -> str:
    """One command of the docs, its placeholders replaced; all that it says."""
    for old, new in paths.items():
        line = line.replace(old, new)
    program, *arguments = shlex.split(line, comments=True)
    assert program == "dnsworker"
    return run_here(arguments, {**own.process_env(), **(env or {})}).both


def assert_as_shown(own: Stack, transcript: str) -> None:
    """Each `$ command` says what stands below it."""
    for part in transcript.split("$ ")[1:]:
        command, _, expected = part.partition("\n")
        assert masked(typed(own, command)) == masked(expected), command


def as_program(own: Stack, text: str, **more: str) -> str:
    """A documented program with our addresses in place of its; what it prints."""
    text = text.replace('user_id="shop"', 'user_id="dnsworker"')  # whom the broker vouches for
    text = re.sub(r"amqp://[^\"]+", own.env["DNSWORKER_BROKER_URL"], text)
    text = re.sub(r"redis://[^\"]+", own.env["DNSWORKER_RESULT_URL"], text)
    text = re.sub(r"postgresql\+psycopg2://[^\"]+", own.env["DNSWORKER_DATABASE_URL"], text)
    done = subprocess.run(
        [sys.executable, "-c", text], env={**own.process_env(), **more}, capture_output=True, text=True,
        timeout=90, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


# --- README -------------------------------------------------------------------------------------------------


def test_the_makefile_knows_what_the_readme_makes_and_does_it() -> None:
    pages = (
        block("README.md", "See it"),
        block("README.md", "See it with real servers"),
        block("docs/quick-start.md", "Python alone"),
        block("docs/quick-start.md", "Real servers on this machine"),
    )
    for line in "".join(pages).splitlines():
        words = shlex.split(line, comments=True)
        made = subprocess.run([words[0], "--dry-run", *words[1:]], cwd=ROOT, capture_output=True, text=True,
                              timeout=30, check=True).stdout  # fmt: skip
        assert {"demo": "dnsworker demo", "stack": "dev.stack"}[words[1]] in made


def test_the_demo_ends_as_the_readme_shows(tmp_path: Path) -> None:
    shown = block("README.md", "See it", 2)
    done = subprocess.run(
        [sys.executable, "-m", "dnsworker", "demo"],
        env={**_clean(), "DNSWORKER_DATA_DIR": str(tmp_path)},
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert "\n".join(masked(shown)) in "\n".join(masked(done.stdout))


@pytest.mark.usefixtures("no_example")
def test_the_shell_does_as_the_readme_shows_with_a_server_down_as_well(own: Stack) -> None:
    well, down = blocks_in("README.md", "From the shell")
    assert_as_shown(own, well)
    with stopped_bind(own):
        assert_as_shown(own, down)


@pytest.mark.usefixtures("no_example")
def test_the_first_commands_of_the_quick_start_work(own: Stack) -> None:
    for line in block("docs/quick-start.md", "Python alone", 2).splitlines():
        assert "ACTIVE" in typed(own, line), line


@pytest.mark.usefixtures("no_example")
@pytest.mark.parametrize(
    ("steps", "said"),
    [
        (block("README.md", "See it with real servers", 2), ["192.0.2.1"]),
        (block("docs/quick-start.md", "Real servers on this machine", 2), ["192.0.2.1", "192.0.2.1"]),
    ],
    ids=["README", "quick start"],
)
def test_the_steps_with_real_servers_lead_to_an_answer(
    own: Stack, tmp_path: Path, steps: str, said: list[str]
) -> None:
    """As typed into a terminal that has nothing of ours but the file."""
    settings = tmp_path / "stack.env"
    with greeting.settings_at(settings, greeting.settings_of(own)):
        done = subprocess.run(
            ["bash", "-c", steps.replace("build/stack.env", str(settings))],
            cwd=tmp_path, env={**_clean(), "PYTHONPATH": str(ROOT)}, capture_output=True,
            text=True, timeout=90, check=False,
        )  # fmt: skip
    assert [line for line in done.stdout.splitlines() if line[0].isdigit()] == said, done.stdout + done.stderr
    assert "192.0.2.9" not in steps or "RecordExists" in done.stdout + done.stderr


@contextlib.contextmanager
def stopped_bind(own: Stack) -> Iterator[None]:
    own.bind.stop()
    try:
        yield
    finally:
        own.bind.start()


# --- Operating ----------------------------------------------------------------------------------------------


def test_the_commands_before_the_first_start_prepare_a_system(own: Stack) -> None:
    for line in block("docs/operating/processes.md", "Processes").splitlines():
        said = typed(own, line, **{"pools.yaml": own.env["DNSWORKER_POOLS"]})
        assert "dnsworker:" not in said, said


def test_a_server_that_is_down_looks_as_the_page_shows(own: Stack, client: Client, example: str) -> None:
    client.put_record(example, "www", "A", ["192.0.2.1"], ttl=300).wait(60)
    with stopped_bind(own):
        client.put_record(example, "api", "A", ["192.0.2.3"])
        wait_for(lambda: "open" in own.run("status").partition("TARGET")[2], "the breaker to open")
        wait_for(lambda: _serial(own, "powerdns") == own.run_json("zone", "show", ZONE)["serial"], "PowerDNS")
        assert_as_shown(own, block("docs/operating/troubleshooting.md", "Something is stuck"))


def _serial(own: Stack, target: str) -> int:
    shown = own.run_json("zone", "show", ZONE)
    return int(next(one["serial"] for one in shown["targets"] if one["target"] == target))


def test_a_zone_that_is_there_already_is_refused_as_the_page_shows(own: Stack, client: Client) -> None:
    rrsets = [
        ("NS", ["ns1.dnsworker.test.", "ns2.dnsworker.test."], 3600),
        ("SOA", ["ns1.dnsworker.test. hostmaster.example.org. 2026112301 3600 600 86400 3600"], 3600),
        ("TXT", ['"somebody"'], 60),
    ]
    own.powerdns.api("POST", "/zones", {
        "name": "example.com.", "kind": "Native", "soa_edit_api": "",
        "rrsets": [{"name": "example.com.", "type": kind, "ttl": ttl,
                    "records": [{"content": one, "disabled": False} for one in data]}
                   for kind, data, ttl in rrsets],
    })  # fmt: skip
    assert_as_shown(own, block("docs/operating/existing-zones.md", "A target has the zone already"))
    own.powerdns.api("DELETE", "/zones/example.com.")


def test_a_zone_moves_by_the_documented_command(
    own: Stack, client: Client, example: str, tmp_path: Path
) -> None:
    before = own.env["DNSWORKER_POOLS"]
    new = {
        "name": "new",
        "ns_records": [{"hostname": "ns1.dnsworker.test."}],
        "targets": [{"name": "files", "type": "zonefile", "options": {"folder": str(tmp_path)}}],
    }
    own.apply_pool(to_yaml(pool_of({"bind": own.bind, "powerdns": own.powerdns}), new))
    assert "ACTIVE" in typed(own, block("docs/operating/moving.md", "Moving a zone"))
    assert (tmp_path / "example.org.zone").exists()
    assert before == own.env["DNSWORKER_POOLS"]


@pytest.mark.usefixtures("no_example")
def test_a_zone_is_imported_by_each_of_the_documented_commands(
    own: Stack, client: Client, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text(own.bind.key_secret)
    places = {
        "--from-target ns1": "--from-target bind",
        "192.0.2.53": f"{own.bind.address}:{own.bind.port}",
        "--tsig-key transfer": f"--tsig-key {own.bind.key_name}",
        "/run/secrets/transfer": str(tmp_path / "secret"),
    }
    client.create_zone(ZONE, email="hostmaster@example.org").wait(60)
    text = block("docs/operating/existing-zones.md", "Zones that are there already").replace("\\\n", " ")
    for line in text.splitlines():
        assert "ACTIVE" in typed(own, line, **places), line


def test_submissions_wait_for_an_upgrade_by_the_documented_commands(
    own: Stack, client: Client, example: str
) -> None:
    for worker in own.workers:
        worker.stop()
    try:
        operation = client.put_record(example, "www", "A", ["192.0.2.1"])  # returns: RabbitMQ has it
        for line in block("docs/operating/upgrades.md", "With another schema").splitlines():
            said = typed(own, line, **{"pools.yaml": own.env["DNSWORKER_POOLS"]})
            assert "dnsworker:" not in said, said
        assert texts(own.bind, f"www.{example}", "A") == []
    finally:
        for worker in own.workers:
            worker.start()
    assert operation.wait(60).status == "ACTIVE"


@pytest.mark.skipif(DATABASE != "postgresql", reason="shows PostgreSQL")
def test_a_backup_is_made_and_restored_by_the_documented_commands(
    own: Stack, client: Client, example: str, tmp_path: Path
) -> None:
    url = own.env["DNSWORKER_DATABASE_URL"].replace("+psycopg2", "")
    server = url.rpartition("/")[0]
    places = {
        "postgresql://dnsworker@db.example.net/dnsworker": url,
        "postgresql://dnsworker@db.example.net": server,
    }

    def shell(text: str) -> None:
        for old, new in places.items():
            text = text.replace(old, new)
        subprocess.run(["sh", "-ec", text], cwd=tmp_path, check=True, timeout=60)

    saved = client.put_record(example, "www", "A", ["192.0.2.1"]).wait(60).serial
    shell(block(BACKUP, "What to keep"))
    later = client.put_record(example, "www", "A", ["192.0.2.2"]).wait(60).serial
    restore, say = blocks_in(BACKUP, "Restoring it")
    shell(restore)
    restored = {"DNSWORKER_DATABASE_URL": f"{server}/restored"}
    try:
        for line in say.splitlines():
            assert "dnsworker:" not in typed(own, line, env=restored), line
        found = json.loads(typed(own, "dnsworker zone list --json", env=restored))
        assert [zone["serial"] for zone in found if zone["name"] == example] == [saved]
        assert saved != later
    finally:
        own.postgresql.drop_database("restored")


def test_what_a_zone_was_is_shown_and_brought_back_by_the_documented_commands(
    own: Stack, client: Client, example: str
) -> None:
    serial = client.put_record(example, "www", "A", ["192.0.2.1"]).wait(60).serial
    between = datetime.now(UTC).isoformat()
    client.put_record(example, "www", "A", ["192.0.2.2"]).wait(60)
    for line in block("docs/operating/history.md", "What was changed, and by whom").splitlines():
        assert "192.0.2.1" in typed(own, line, **{"1795454649": str(serial)}), line
    dry, back, to = block("docs/operating/history.md", "Back to what a zone was").splitlines()
    assert "192.0.2.1" in typed(own, dry, **{"1795454649": str(serial)})
    assert texts(own.bind, f"www.{example}", "A") == ["192.0.2.2"]
    assert "ACTIVE" in typed(own, back, **{"1795454649": str(serial)})
    assert texts(own.bind, f"www.{example}", "A") == ["192.0.2.1"]
    client.delete_record(example, "www", "A").wait(60)
    assert "ACTIVE" in typed(own, to, **{"2h ago": between})
    assert texts(own.bind, f"www.{example}", "A") == ["192.0.2.1"]


@pytest.mark.skipif(DATABASE != "postgresql", reason="it is asked of PostgreSQL")
def test_the_backlog_that_keda_scales_by_can_be_asked_for(own: Stack) -> None:
    items = yaml.safe_load((ROOT / "deploy" / "kubernetes" / "scaling.yaml").read_text("utf-8"))["items"]
    triggers = [trigger for one in items for trigger in one["spec"].get("triggers", [])]
    (query,) = [one["metadata"]["query"] for one in triggers if one["type"] == "postgresql"]
    assert own.postgresql.execute(query, database=own.env["DNSWORKER_DATABASE_URL"].rpartition("/")[2]) == [
        (0,)
    ]


# --- Submitting ---------------------------------------------------------------------------------------------


def test_the_client_example_does_what_it_says(own: Stack, client: Client, example: str) -> None:
    client.put_record(example, "@", "CAA", ['0 issue "ca.example.net"']).wait(60)
    assert as_program(own, block("docs/submitting/client.md", "Client")).startswith("ACTIVE ")
    for name, address in (("www", "192.0.2.3"), ("mail", "192.0.2.25")):
        assert texts(own.bind, f"{name}.{example}", "A") == [address]
    assert not texts(own.bind, example, "CAA")


def test_the_asynchronous_example_does_what_it_says(own: Stack, example: str) -> None:
    said = as_program(own, block("docs/submitting/client.md", "AsyncClient"))
    assert [line.split()[0] for line in said.splitlines()] == ["ACTIVE"] * 3
    assert texts(own.powerdns, f"host2.{example}", "A") == ["192.0.2.9"]


@pytest.mark.skipif(DATABASE != "postgresql", reason="shows PostgreSQL")
def test_the_example_of_an_outbox_does_what_it_says(own: Stack, example: str) -> None:
    engine = sa.create_engine(own.env["DNSWORKER_DATABASE_URL"])
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE customer (id int, host text)"))
        connection.execute(sa.text("INSERT INTO customer VALUES (7, '')"))
    assert as_program(own, block("docs/submitting/outbox.md", "In your own transaction")) == "ACTIVE\n"
    assert texts(own.bind, f"shop.{example}", "A") == ["192.0.2.8"]
    with engine.begin() as connection:
        assert connection.execute(sa.text("SELECT host FROM customer")).scalar() == "shop"
        connection.execute(sa.text("DROP TABLE customer"))
    engine.dispose()


def test_the_celery_example_does_what_it_says(own: Stack, example: str) -> None:
    said = as_program(
        own, block("docs/submitting/celery.md", "Plain Celery") + '\nprint(outcome["status"], zone["name"])'
    )
    assert said == f"ACTIVE {ZONE}\n"


def test_the_documented_user_may_submit_and_nothing_else(own: Stack, example: str) -> None:
    vhost = own.env["DNSWORKER_BROKER_URL"].rpartition("/")[2]
    add, permit = block("docs/submitting/celery.md", "A user who may only submit").splitlines()
    own.rabbitmq.control(*shlex.split(add, comments=True)[1:], text="secret\n")
    words = shlex.split(permit, comments=True)[1:]
    own.rabbitmq.control(words[0], "--vhost", vhost, *words[1:])
    url = own.rabbitmq.url_for("shop", "secret", vhost)
    with Client(url, own.env["DNSWORKER_RESULT_URL"]) as shop:
        assert shop.put_record(example, "shop", "A", ["192.0.2.4"]).wait(60).status == "ACTIVE"


def test_the_documented_message_is_of_the_schema(own: Stack) -> None:
    schema = json.loads(typed(own, block("docs/submitting/amqp.md", "The messages").removeprefix("$ ")))
    ((), arguments, _) = json.loads(block("docs/submitting/amqp.md", "The messages", 2))
    jsonschema.validate(arguments, schema["dnsworker.put_record"])


def test_the_documented_message_over_http_is_carried_out(own: Stack, example: str, tmp_path: Path) -> None:
    message, command = blocks_in("docs/submitting/amqp.md", "HTTP")
    operation = str(uuid.uuid4())
    old = json.loads(message)["properties"]["correlation_id"]
    message = message.replace(old, operation).replace('"shop"', '"dnsworker"')
    (tmp_path / "message.json").write_text(message)
    vhost = own.env["DNSWORKER_BROKER_URL"].rpartition("/")[2]
    line = command.replace("http://rabbit.example.net:15672", own.rabbitmq.management_url)
    line = line.replace("shop:secret", f"dnsworker:{own.rabbitmq.password}").replace("%2F", vhost)
    done = subprocess.run(
        shlex.split(line), cwd=tmp_path, capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout == '{"routed":true}'
    wait_for(lambda: texts(own.bind, f"www.{example}", "A") == ["192.0.2.3"], "the record")


def test_the_raw_message_is_carried_out_and_its_outcome_is_where_the_page_says(
    own: Stack, example: str
) -> None:
    url = urlsplit(own.env["DNSWORKER_BROKER_URL"])
    text = block("docs/submitting/amqp.md", "Raw AMQP").replace(
        "rabbit.example.net:5672", f"{url.hostname}:{url.port}"
    )
    text = text.replace('userid="shop", password="secret"', f'userid="dnsworker", password="{url.password}"')
    text = text.replace('virtual_host="/"', f'virtual_host="{url.path[1:]}"')
    key = f"celery-task-meta-{as_program(own, text).strip()}"
    with redis.Redis.from_url(own.env["DNSWORKER_RESULT_URL"]) as results:
        wait_for(lambda: results.exists(key), "the outcome")
        found = json.loads(results.get(key))
    assert (found["status"], found["result"]["status"]) == ("SUCCESS", "ACTIVE")
    assert texts(own.bind, f"www.{example}", "A") == ["192.0.2.3"]


def test_the_fastapi_example_does_what_it_says(own: Stack, example: str) -> None:
    text = block("docs/submitting/fastapi.md", "FastAPI") + textwrap.dedent("""
        from fastapi.testclient import TestClient
        with TestClient(app) as http:
            put = http.put("/hosts/web", params={"address": "192.0.2.7"})
            print(put.status_code, http.put("/hosts/web", params={"address": "nowhere"}).status_code)
            status = ""
            while status != "ACTIVE":
                status = http.get("/operations/" + put.json()["operation"]).json()["status"]
        """)
    assert as_program(own, text) == "202 422\n"
    assert texts(own.bind, f"web.{example}", "A") == ["192.0.2.7"]


def test_the_django_example_does_what_it_says(own: Stack, example: str) -> None:
    settings = textwrap.dedent("""
        import django, time
        from django.conf import settings
        settings.configure(
            DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
            DEFAULT_AUTO_FIELD="django.db.models.AutoField",
        )
        django.setup()
        """)
    use = textwrap.dedent("""
        from django.db import connection
        with connection.schema_editor() as editor:
            editor.create_model(Shop)
        shop = open_shop("corner")
        shop.refresh_from_db()
        while not is_online(shop):
            time.sleep(0.05)
        try:
            with transaction.atomic():
                open_shop("never")
                raise RuntimeError
        except RuntimeError:
            print(Shop.objects.count())
        """)
    assert as_program(own, settings + block("docs/submitting/django.md", "Django") + use) == "1\n"
    assert texts(own.bind, f"corner.{example}", "A") == ["192.0.2.80"]
    assert not texts(own.bind, f"never.{example}", "A")


def test_the_example_of_a_dry_run_says_what_would_be(own: Stack, example: str) -> None:
    said = as_program(own, block("docs/submitting/client.md", "Dry runs"))
    assert said.splitlines()[0].endswith("1 0 0")
    assert "www" in said
    assert not texts(own.bind, f"www.{example}", "A")


# --- Designate ----------------------------------------------------------------------------------------------


DESIGNATE = "docs/coming-from-designate.md"


def test_designates_file_is_judged_as_the_page_shows(tmp_path: Path) -> None:
    theirs, transcript, ours = blocks_in(DESIGNATE, "pools.yaml")
    command, *expected = transcript.splitlines()
    told = _pool_apply(tmp_path, theirs, command)
    assert told.splitlines() == expected
    (pool,) = load_pools(theirs)  # its shape is ours; the options are what differs
    assert [target.type for target in pool.targets] == ["bind9", "powerdns"]
    assert "new, targets bind-1, powerdns-1" in _pool_apply(tmp_path, ours, command)


def _pool_apply(folder: Path, text: str, command: str) -> str:
    (folder / "pools.yaml").write_text(text)
    environment = {**_clean(), "DNSWORKER_DATA_DIR": str(folder)}
    with contextlib.chdir(folder):
        run_here(["db", "upgrade"], environment)
        return run_here(command.split()[2:], environment).both


# --- Performance --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("line", [block("docs/performance/README.md", "Growth"),
                                  block("docs/performance/README.md", "Where the time goes")])  # fmt: skip
def test_a_measurement_takes_the_documented_options(line: str) -> None:
    """They run for minutes to hours; what is tried is whether they would begin."""
    _, *arguments = shlex.split(line)
    known = subprocess.run(
        [sys.executable, *arguments[:2], "--help"],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=True,
    ).stdout  # fmt: skip
    assert {word for word in arguments[2:] if word.startswith("--")} <= set(re.findall(r"--[\w-]+", known))


def _clean() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("DNSWORKER_")}
