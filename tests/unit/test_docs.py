"""What the documentation says must exist: code that parses, settings, commands, errors, files, anchors."""

from __future__ import annotations

import ast
import inspect
import json
import re
import shlex
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml

from dnsworker import errors, permissions, queues
from dnsworker.cli import cli
from dnsworker.pools import load_pools
from dnsworker.settings import ENV_PREFIX, Settings, load_settings
from tests.certificates import Authority
from tests.documented import block

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
OPERATING = ROOT / "docs" / "operating"
COMPOSE = ROOT / "docker-compose.yml"

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
VARIABLE = re.compile(rf"(?<![A-Z_]){ENV_PREFIX}[A-Z0-9_]+")
#: In running text: `dnsworker zone show`; in blocks: a line that begins with it, after a prompt or `do`.
INLINE_COMMAND = re.compile(r"`dnsworker ([a-z][^`]*)`")
COMMAND_LINE = re.compile(r"^(?:\$ |.*\bdo )?dnsworker ([a-z-](?:\\\n|[^#|;\n])*)", re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")
#: What only callers inside the program meet.
INTERNAL_ERRORS = {"DNSWorkerError", "BackendError", "Transient", "Permanent"}
#: A folder of whoever writes or tests, or a package index.
OF_ONE_MACHINE = re.compile(
    "|".join(map(re.escape, (f"{ROOT}/", f"{Path.home()}/", f"{tempfile.gettempdir()}/", "site-packages")))
    + r"|--(?:extra-)?index-url|https?://\S+/simple\b"
)


def blocks(language: str) -> dict[str, str]:
    """The fenced blocks of a language, by place."""
    found = {}
    for page in PAGES:
        for number, (given, text) in enumerate(BLOCK.findall(page.read_text("utf-8")), start=1):
            if given == language:
                found[f"{page.relative_to(ROOT)} block {number}"] = text
    return found


def settings_in(text: str) -> set[str]:
    return {name.removesuffix("_FILE") for name in VARIABLE.findall(text)}


def commands() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        text = page.read_text("utf-8")
        for command in INLINE_COMMAND.findall(BLOCK.sub("", text)):
            yield page.name, command
        for _, fenced in BLOCK.findall(text):
            for command in COMMAND_LINE.findall(fenced):
                yield page.name, command.strip()
    for name, service in yaml.safe_load(COMPOSE.read_text("utf-8"))["services"].items():
        if service["image"].startswith("dnsworker") and "command" in service:
            yield f"compose {name}", shlex.join(service["command"])


def find_command(line: str) -> tuple[click.Command, list[str]]:
    """The command that a line calls, and the words that follow it. Raises `KeyError`."""
    command: click.Command = cli
    words = shlex.split(line)
    while words and isinstance(command, click.Group) and not words[0].startswith("-"):
        command = command.commands[words.pop(0)]
    return command, words


def anchors(page: Path) -> set[str]:
    """GitHub's: lower case, blanks to hyphens, everything else but letters, digits and hyphens dropped."""
    text = BLOCK.sub("", page.read_text("utf-8"))
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_python_in_the_documentation_parses() -> None:
    for where, text in blocks("python").items():
        ast.parse(textwrap.dedent(text), filename=where)


def test_pools_and_permissions_in_the_documentation_load() -> None:
    for where, text in blocks("yaml").items():
        assert permissions.load(text).users if text.startswith("default:") else load_pools(text), where


def test_json_in_the_documentation_parses() -> None:
    for text in blocks("json").values():
        json.loads(text)


def test_the_readme_shows_a_pool_of_two_targets() -> None:
    (pool,) = load_pools(block("README.md", "Backends"))
    assert [target.type for target in pool.targets] == ["bind9", "powerdns"]


def test_the_operators_page_shows_pools_that_mean_what_it_says() -> None:
    (whole,) = load_pools(block("docs/operating/pools.md", "pools.yaml"))
    assert [nameserver.verify for nameserver in whole.nameservers] == ["auto", "serial", "auto"]
    (shared,) = load_pools(block("docs/operating/pools.md", "What others write"))
    assert [entry.name for entry in shared.ignore] == ["_acme-challenge*", "*.dhcp"]
    (limited,) = load_pools(block("docs/operating/limits.md", "Limits"))
    limits = limited.targets[0].limits
    assert (limits.concurrency, limits.requests_per_second, limits.burst) == (2, 5, 10)


def test_the_settings_of_tls_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = Authority(tmp_path).certificate
    for line in block("docs/security.md", "TLS").splitlines():
        name, _, value = shlex.split(line, comments=True)[0].partition("=")
        monkeypatch.setenv(name, value.replace("/etc/dnsworker/ca.pem", str(authority)))
    settings = load_settings()
    assert settings.broker().startswith("amqps://")
    assert str(settings.result()).startswith("rediss://")
    assert settings.ca_bundle == authority


def test_the_pools_files_of_the_deployment_load_without_a_note() -> None:
    notes: list[str] = []
    for name in ("pools.compose.yaml", "pools.example.yaml"):
        assert load_pools(ROOT / "deploy" / name, notes=notes)
    assert notes == []


def test_every_setting_that_is_named_exists() -> None:
    known = {ENV_PREFIX + name.upper() for name in Settings.model_fields}
    for page in [*PAGES, COMPOSE, ROOT / "deploy" / "Dockerfile", ROOT / "deploy" / "prepare"]:
        assert settings_in(page.read_text("utf-8")) <= known, page.name


def test_the_table_of_settings_has_all_of_them_with_their_defaults() -> None:
    rows = dict(
        re.findall(
            rf"^\| `({ENV_PREFIX}\w+)` \| (\S+) \|",
            (OPERATING / "settings.md").read_text("utf-8"),
            re.MULTILINE,
        )
    )
    expected = {}
    for name, field in Settings.model_fields.items():
        value = field.get_default(call_default_factory=True, validated_data={})
        if isinstance(value, Path):
            value = f"~/{value.relative_to(Path.home())}"
        shown = f"{value:g}" if isinstance(value, float) else value
        expected[ENV_PREFIX + name.upper()] = "–" if value is None else f"`{shown}`"
    assert rows == expected


@pytest.mark.parametrize(("where", "line"), sorted(set(commands())), ids=lambda value: value[:50])
def test_every_command_that_is_named_exists(where: str, line: str) -> None:
    # "`zone create`, `update`" in a table names the first in full
    command, words = find_command(line)
    assert not isinstance(command, click.Group) or not words or words[0].startswith("-"), line
    known = {option for parameter in command.params for option in parameter.opts} | {"--help", "--version"}
    used = {word.split("=")[0] for word in words if re.match(r"--?[a-zA-Z]", word)}
    assert used <= known, f"{where}: {line}"


def test_every_command_is_in_the_operators_table() -> None:
    text = (OPERATING / "commands.md").read_text("utf-8")

    def leaves(group: click.Group, path: str) -> Iterator[tuple[str, str]]:
        for name, command in group.commands.items():
            if isinstance(command, click.Group):
                yield from leaves(command, f"{path} {name}")
            else:
                yield f"{path} {name}", name

    for full, name in leaves(cli, "dnsworker"):
        in_full = f"`{full}" in text or re.search(rf"^{full}\b", text, re.MULTILINE)
        in_a_row = re.search(rf"`{full.rpartition(' ')[0]} .*`{name}`", text)
        assert in_full or in_a_row, full


def test_every_error_is_explained() -> None:
    names = {
        name
        for name, value in inspect.getmembers(errors, inspect.isclass)
        if issubclass(value, errors.DNSWorkerError)
    }
    text = (OPERATING / "errors.md").read_text("utf-8")
    assert {name for name in names - INTERNAL_ERRORS if f"`{name}`" not in text} == set()


def test_every_task_is_in_the_submitters_table() -> None:
    text = (ROOT / "docs" / "submitting" / "README.md").read_text("utf-8")
    assert {f"dnsworker.{name}" for name in re.findall(r"^\| `dnsworker\.(\w+)` \|", text, re.MULTILINE)} == (
        queues.SUBMITTABLE | queues.ASKABLE
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(page.read_text("utf-8")):
        if link.startswith(("https://", "http://")):
            continue
        path, _, anchor = link.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), link
        if anchor:
            assert anchor in anchors(linked), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_name_nothing_of_the_machine_that_they_were_written_on(page: Path) -> None:
    assert OF_ONE_MACHINE.findall(page.read_text("utf-8")) == []


def test_the_tests_that_the_page_on_security_names_exist() -> None:
    text = (ROOT / "docs" / "security.md").read_text("utf-8")
    named = re.findall(r"`((?:unit|integration|acceptance|faults)/\w+\.py)`", text)
    assert len(named) > 10
    assert [name for name in named if not (ROOT / "tests" / name).exists()] == []
