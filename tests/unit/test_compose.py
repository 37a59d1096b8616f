"""docker-compose.yml and the Dockerfiles, as far as they can be judged without starting anything.

Docker Compose itself reads the file. `tests/acceptance/test_compose.py` runs it.
"""

from __future__ import annotations

import re
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from dev.program import ROOT
from dnsworker import queues
from tests.rooms import compose_config, read_dockerfile

DOCKERFILES = sorted((ROOT / "deploy").rglob("Dockerfile"))


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What compose needs of a fresh clone, prepared as the file's first lines say."""
    folder = tmp_path_factory.mktemp("checkout")
    shutil.copy(ROOT / "docker-compose.yml", folder)
    shutil.copytree(ROOT / "deploy", folder / "deploy", ignore=shutil.ignore_patterns("secrets"))
    prepare(folder)
    return folder


@pytest.fixture(scope="module")
def config(checkout: Path) -> dict[str, Any]:
    return compose_config(checkout, "*")


def prepare(folder: Path) -> str:
    done = subprocess.run(
        [folder / "deploy" / "prepare"], capture_output=True, text=True, timeout=30, check=True
    )
    assert not done.stderr
    return done.stdout


def contents(folder: Path) -> dict[str, str]:
    return {str(path): path.read_text("utf-8") for path in folder.rglob("*") if path.is_file()}


def ours(config: dict[str, Any]) -> dict[str, Any]:
    return {
        name: service
        for name, service in config["services"].items()
        if service["image"].startswith("dnsworker:")
    }


def test_every_secret_is_made_and_every_secret_that_is_made_is_used(
    checkout: Path, config: dict[str, Any]
) -> None:
    named = {Path(secret["file"]) for secret in config["secrets"].values()}
    assert named == set((checkout / "deploy" / "secrets").iterdir())
    used = {one["source"] for service in config["services"].values() for one in service.get("secrets", [])}
    assert used == set(config["secrets"])


def test_secrets_are_closed_to_others_and_differ_from_one_checkout_to_the_next(
    checkout: Path, tmp_path: Path
) -> None:
    folder = checkout / "deploy" / "secrets"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    shutil.copytree(checkout / "deploy", tmp_path / "deploy", ignore=shutil.ignore_patterns("secrets"))
    prepare(tmp_path)
    for path in folder.iterdir():
        assert path.read_text() != (tmp_path / "deploy" / "secrets" / path.name).read_text()


def test_preparing_twice_changes_nothing(checkout: Path) -> None:
    (checkout / "pools.yaml").write_text("# mine\n")
    before = contents(checkout)
    assert "yours, unchanged" in prepare(checkout)
    assert contents(checkout) == before


def test_what_is_missing_is_made_again_with_all_that_must_agree(checkout: Path) -> None:
    """As after an update that brings a new secret, or a run that was broken off."""
    folder = checkout / "deploy" / "secrets"
    before = contents(folder)
    (folder / "named.keys").unlink()
    prepare(checkout)
    changed = {Path(path).name for path, text in contents(folder).items() if before[path] != text}
    assert changed == {"named.keys", "rndc", "tsig"}
    assert (folder / "rndc").read_text() in (folder / "named.keys").read_text()


def test_workers_take_every_queue_between_them(config: dict[str, Any]) -> None:
    taken: dict[str, set[str]] = {}
    for name, service in ours(config).items():
        command = service.get("command") or []
        if command[:1] == ["worker"]:
            names = command[command.index("-Q") + 1].split(",")
            taken[name] = {queue.name for queue in queues.select_queues(names, ["one"])}
    assert taken == {
        "intake": {queue.name for queue in queues.all_queues(["one"])} - {"dns.deliver.one"},
        "worker": {"dns.deliver.one"},  # so that `--scale worker=4` is more of what waits for nameservers
    }


def test_nothing_of_ours_has_rights_or_secrets_in_its_environment(config: dict[str, Any]) -> None:
    for name, service in ours(config).items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["read_only"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert not [value for value in service["environment"].values() if "@" in value], name
        named = [name for name in service["environment"] if name.endswith(("_URL", "_AUTH"))]
        assert set(named) <= {"DNSWORKER_FLOWER_URL"}, name  # the others hold passwords: they come as files


def test_permissions_are_those_of_the_file_that_the_environment_names_and_nobodys_without_one(
    checkout: Path, config: dict[str, Any]
) -> None:
    assert {service["environment"]["DNSWORKER_PERMISSIONS"] for service in ours(config).values()} == {""}
    (checkout / ".env").write_text("PERMISSIONS=mine.yaml\n")
    named = compose_config(checkout, "*")
    (checkout / ".env").unlink()
    for name, service in ours(named).items():
        path = Path(service["environment"]["DNSWORKER_PERMISSIONS"])
        (source,) = [Path(one["source"]) for one in service["volumes"] if one["target"] == str(path.parent)]
        assert (source, path.name) == (checkout / "permissions", "mine.yaml"), name
        assert source.is_dir()


def test_ports_are_published_on_loopback_unless_somebody_says_otherwise(config: dict[str, Any]) -> None:
    published = [port for service in config["services"].values() for port in service.get("ports", [])]
    assert published
    assert {port["host_ip"] for port in published} == {"127.0.0.1"}


def test_what_ends_by_itself_is_waited_for_and_not_started_again(config: dict[str, Any]) -> None:
    for name, service in config["services"].items():
        waited_for = any(
            one["condition"] == "service_completed_successfully"
            for other in config["services"].values()
            for dependency, one in other.get("depends_on", {}).items()
            if dependency == name
        )
        assert (service["restart"] == "no") is (waited_for or service.get("profiles") == ["cli"]), name


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.parent.name)
def test_images_are_pinned_and_end_as_a_user(path: Path) -> None:
    text = path.read_text("utf-8")
    defaults = dict(re.findall(r"^ARG (\w+)=(\S+)$", text, re.MULTILINE))
    bases = [re.sub(r"\$\{(\w+)\}", lambda found: defaults[found[1]], name) for name in
             re.findall(r"^FROM (\S+)", text, re.MULTILINE)]  # fmt: skip
    assert bases
    assert all(re.search(r":\d+\.\d+", base) for base in bases), bases
    assert read_dockerfile(path).user not in {"0", "root"}


def test_images_of_others_are_pinned(config: dict[str, Any]) -> None:
    for name, service in config["services"].items():
        if "build" not in service:
            assert re.search(r":v?\d+\.\d+\.?\d*", service["image"]), name


def test_what_the_image_is_made_of_is_let_into_the_build_and_nothing_else() -> None:
    text = (ROOT / "deploy" / "Dockerfile").read_text("utf-8")
    copied = set()
    for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE):
        copied |= {source.partition("/")[0] for source in line.split()[:-1]}
    let_in = {
        line[1:] for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line.startswith("!")
    }
    assert copied == let_in
    assert all((ROOT / name).exists() for name in copied)


def test_the_images_version_is_the_programs() -> None:
    version = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text("utf-8"), re.MULTILINE)
    assert version
    document = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
    tags = {
        service["image"].partition(":")[2]
        for service in document["services"].values()
        if service["image"].startswith("dnsworker")
    }
    assert tags == {version[1]}
