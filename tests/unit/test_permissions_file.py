"""permissions.yaml as a file: what is wrong with one, how a change is taken up, and the commands about it."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from dnsworker.cli import cli
from dnsworker.errors import ConfigError
from dnsworker.permissions import PermissionsFile, load
from dnsworker.permissions.file import LOOK_EVERY_S
from dnsworker.requests.kinds import parse_request
from tests.documented import block, blocks_in
from tests.unit.test_permissions import FILE, put, verdict

DEPLOY = Path(__file__).parents[2] / "deploy"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("users: {}\n\n", "permissions.yaml:1: default: is missing"),
        ("default: maybe\n\n", "permissions.yaml:1: default: Input should be 'open' or 'closed'"),
        ("- default\n\n", "permissions.yaml:1: a mapping is expected: 'default: closed', 'users: …'"),
        ("default: open\nuser: {}\n", "permissions.yaml:2: user: is not known here"),
        (
            "default: open\nusers: {7: []}\n",
            "permissions.yaml:2: a user's name is text: write '7', in quotes",
        ),
        (
            "default: open\nusers:\n  a:\n    may: put\n",
            "permissions.yaml:3: users.a: a list of rules is expected: '- may: …' and so on",
        ),
        ("default: open\nusers:\n  a: []\n  a: []\n", "permissions.yaml:4: 'a' is there twice"),
        ("RULE zones: x\n", "permissions.yaml:4: users.a[0]: give one of may and may_not"),
        (
            "RULE may: put\n      may_not: put\n      zones: x\n",
            "permissions.yaml:4: users.a[0]: give one of may and may_not",
        ),
        ("RULE may: put\n", "permissions.yaml:4: users.a[0].zones: is missing"),
        (
            "RULE may: put\n      zones: []\n",
            "permissions.yaml:5: users.a[0].zones: is empty: leave it out, if all are meant",
        ),
        ("RULE may: []\n      zones: x\n", "permissions.yaml:4: users.a[0].may: says nothing"),
        (
            "RULE may: write\n      zones: x\n",
            "permissions.yaml:4: users.a[0].may: 'write' is none of: create, update, put, delete, read",
        ),
        (
            "RULE may: put\n      zones: x\n      types: [A, ABC]\n",
            "permissions.yaml:6: users.a[0].types: there is no record type ABC",
        ),
        (
            "RULE may: put\n      zones: example.*\n",
            "permissions.yaml:5: users.a[0].zones: example.*: a * at the end would mean zones of whomever",
        ),
        (
            "RULE may: put\n      zones: *\n",
            (
                "permissions.yaml:5: expected alphabetic or numeric character, but found '\\n' (while "
                'scanning an alias); what begins with a * needs quotes: "*.example.org"'
            ),
        ),
        (
            "RULE may: put\n      zones: x\n      names: @\n",
            (
                "permissions.yaml:6: found character '@' that cannot start any token (while scanning for the "
                'next token); what begins with an @ needs quotes: "@"'
            ),
        ),
        (
            "RULE may: put\n      zones: example.org\n      names: www.example.org\n",
            (
                "permissions.yaml:4: users.a[0]: names: 'www.example.org' ends in the zone's name but not in "
                "a dot: write 'www.example.org.', or 'www'"
            ),
        ),
        (
            "RULE may: put\n      zones: x\n      names: wéb-*\n",
            "permissions.yaml:6: users.a[0].names: wéb-*: beside a * a label has only letters of ASCII",
        ),
        (
            "RULE may: put\n      zones: x\n      names: a..*\n",
            "permissions.yaml:6: users.a[0].names: a..* has an empty label",
        ),
        (
            "RULE may: create_zone\n      zones: x\n      types: A\n",
            "permissions.yaml:4: users.a[0]: create_zone concerns a zone as a whole and can't be limited",
        ),
        (
            "RULE may: [put, force]\n      zones: x\n      names: www\n",
            "permissions.yaml:4: users.a[0]: force concerns a zone as a whole and can't be limited",
        ),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_its_line(text: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(text.replace("RULE", "default: open\nusers:\n  a:\n    -"))
    assert caught.value.message.startswith(words), caught.value.message
    assert "\n" not in caught.value.message


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Lets as much time pass as there is between two looks at the file."""
    now = [1000.0]
    monkeypatch.setattr("dnsworker.permissions.file.time.monotonic", lambda: now[0])

    def later() -> None:
        now[0] += LOOK_EVERY_S

    return later


def replace_file(path: Path, text: str) -> None:
    part = path.with_suffix(".part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)


def test_a_changed_file_is_taken_up_and_a_wrong_one_changes_nothing(
    tmp_path: Path, clock: Callable[[], None], caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "permissions.yaml"
    request = put("example.org", "www")
    path.write_text(FILE, encoding="utf-8")
    file = PermissionsFile(path)
    assert not verdict(file.current(), "stranger", request)
    replace_file(path, "default: open\n")
    assert not verdict(file.current(), "stranger", request), "it is looked at once a second, and no more"
    clock()
    assert verdict(file.current(), "stranger", request)
    caplog.clear()
    for broken in ("default: [\n", None):
        if broken is None:
            path.unlink()
        else:
            replace_file(path, broken)
        for _ in range(3):
            clock()
            assert verdict(file.current(), "stranger", request)
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 2, "once for each change"
    assert all(line.startswith("permissions stay as they were: ") for line in told)
    assert str(path) in told[0]
    replace_file(path, "default: closed\n")
    clock()
    assert not verdict(file.current(), "stranger", request)


def test_a_file_that_can_not_be_used_at_the_start_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"can't read .*permissions\.yaml: No such file"):
        PermissionsFile(tmp_path / "permissions.yaml")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "whoever may submit may change every zone: set DNSWORKER_PERMISSIONS"),
        ("default: open\n", "users that it doesn't name may do everything"),
        ("default: closed\n", None),
    ],
)
def test_what_is_open_is_said_once_at_the_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str | None, words: str | None
) -> None:
    path = tmp_path / "permissions.yaml"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    PermissionsFile(path if text is not None else None).say()
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(told) == (words is not None)
    assert words is None or words in told[0]


# --- the commands ----------------------------------------------------------------------------------------

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    path = tmp_path / "permissions.yaml"
    path.write_text(FILE, encoding="utf-8")
    monkeypatch.setenv("DNSWORKER_PERMISSIONS", str(path))
    return lambda *arguments: CliRunner().invoke(cli, ["permissions", *arguments])


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        (
            ["cert-manager", "put_record", "example.org", "_acme-challenge.www", "txt"],
            [
                (
                    "allowed  put TXT at _acme-challenge.www.example.org. in example.org.: rule 1 of "
                    "cert-manager (line 5): may put, delete TXT at _acme-challenge.* in example.org, "
                    "*.example.org"
                )
            ],
        ),
        (
            ["cert-manager", "change_zone", "example.org", "put _acme-challenge TXT", "put @ A"],
            [
                "allowed  put TXT at _acme-challenge.example.org.",
                "refused  put A at example.org. in example.org.: no rule",
                "  rule 1 of cert-manager (line 5)",
                "  rule 1 of everybody (line 18)",
            ],
        ),
        (
            ["shop", "move_zone", "shop.example", "--to", "x", "--force"],
            [
                "allowed  move_zone shop.example.:",
                "allowed  move_zone shop.example. of pool x:",
                "refused  force in shop.example.: no rule allows it",
                "  rule 1 of shop (line 10): may all in shop.example, Bücher.example: it doesn't say force",
                "  rule 2 of shop",
                "  rule 1 of everybody",
            ],
        ),
        (
            ["internal", "export_zone", "a.example", "--pool", "inner"],
            ["allowed  read a.example. of pool inner"],
        ),
        (
            ["-", "list_records", "a.example", "www", "A"],
            ["refused  read A at www.a.example.", "  rule 1 of every"],
        ),
        (["stranger", "show_zone", "a.example"], ["refused  read a.example.: ", "  rule 1 of everybody"]),
    ],
)
def test_explain_says_by_which_rule_or_why_by_none(run: Run, arguments: list[str], lines: list[str]) -> None:
    result = run("explain", *arguments)
    told = result.stdout.splitlines()
    assert len(told) == len(lines), told
    assert all(line.startswith(expected) for line, expected in zip(told, lines, strict=True)), told
    is_allowed = all(line.startswith("allowed") for line in lines)
    assert result.exit_code == (0 if is_allowed else 1)
    as_json = json.loads(run("explain", *arguments, "--json").stdout)
    assert as_json["allowed"] is is_allowed
    assert len(as_json["demands"]) == sum(not line.startswith("  ") for line in lines)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["shop", "put", "a.example"], "no operation 'put'; there are: create_record"),
        (["shop", "put_record", "a.example", "www"], "put_record takes a NAME and a TYPE after the zone"),
        (["shop", "change_zone", "a.example", "put www"], "change_zone takes its changes like 'put www A'"),
        (["shop", "delete_zone", "a.example", "www"], "delete_zone takes nothing after the zone"),
        (["shop", "move_zone", "a.example"], "--to belongs to move_zone, which needs it"),
        (["shop", "put_record", "a..example", "www", "A"], "has an empty label"),
    ],
)
def test_what_can_not_be_explained_is_a_usage_error(run: Run, arguments: list[str], words: str) -> None:
    result = run("explain", *arguments)
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1)
    assert words in result.stderr


def test_check_shows_the_rules_and_what_is_odd(run: Run, tmp_path: Path) -> None:
    result = run("check")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[0] == "default  closed"
    assert "may put, delete TXT at _acme-challenge.* in example.org, *.example.org" in result.stdout
    assert "note" not in result.output
    odd = tmp_path / "odd.yaml"
    odd.write_text("default: open\nusers:\n  a: [{may_not: put, zones: x}]\n", encoding="utf-8")
    notes = run("check", str(odd)).stderr.splitlines()
    assert [note.partition(":")[2].split()[:2] for note in notes] == [["default", "is"], ["a", "may"]]
    as_json = json.loads(run("check", "--json").stdout)
    assert [rule["user"] for rule in as_json["rules"]] == [
        "cert-manager", "shop", "shop", "internal", "everybody",
    ]  # fmt: skip
    odd.write_text("default: [\n", encoding="utf-8")
    wrong = run("check", str(odd))
    assert (wrong.exit_code, len(wrong.stderr.splitlines())) == (1, 1)
    assert f"{odd}:2: " in wrong.stderr


def test_the_page_shows_what_the_commands_say(run: Run, tmp_path: Path) -> None:
    example = tmp_path / "permissions.yaml"
    rules, transcript = blocks_in("docs/permissions.md", "Permissions")
    example.write_text(rules, encoding="utf-8")
    check, explain, *shown = transcript.splitlines(keepends=True)
    assert run(*check.replace("permissions.yaml", str(example)).split()[3:]).exit_code == 0
    told = run(*explain.split()[3:], "--file", str(example))
    assert told.stdout == "".join(shown)
    refused = [
        parse_request(
            "put_record", {"zone": "example.org", "name": "www", "type": "A", "data": ["192.0.2.1"]}
        ),
        parse_request("delete_zone", {"zone": "example.org"}),
    ]
    permissions, lines = load(example), []
    for user, request in zip(("cert-manager", "dns-team"), refused, strict=True):
        refusal = permissions.refusal(user, request)
        assert refusal is not None
        lines.append(f"ERROR Forbidden: {refusal.message}\n")
    assert "".join(lines) == block("docs/permissions.md", "What happens to a request")


def test_the_shipped_example_names_the_shipped_users() -> None:
    found = load(DEPLOY / "permissions.example.yaml")
    definitions = json.loads((DEPLOY / "rabbitmq-definitions.json").read_text("utf-8"))
    assert {user["name"] for user in definitions["users"]} <= set(found.users)
    assert not any("impersonator" in user["tags"] for user in definitions["users"])
    assert found.default == "closed"
    assert verdict(found, "dnsworker", put("any.example", "www", force=True)), "the CLI in a container"
    assert verdict(found, "submitter", put("example.org", "www"))
    assert not verdict(found, "submitter", put("example.com", "www"))
