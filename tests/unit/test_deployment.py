"""deploy/systemd and deploy/kubernetes, judged without systemd running and without a cluster."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from dev.program import ROOT
from dnsworker import queues
from dnsworker.cli import cli
from dnsworker.settings import Settings
from dnsworker.worker import DATABASE_S
from tests.unit.test_docs import find_command, settings_in

SYSTEMD = ROOT / "deploy" / "systemd"
KUBERNETES = ROOT / "deploy" / "kubernetes"
PROGRAM = "/opt/dnsworker/.venv/bin/dnsworker"


def manifests() -> list[dict[str, Any]]:
    texts = [path.read_text("utf-8") for path in sorted(KUBERNETES.glob("*.yaml"))]
    return [one for text in texts for one in yaml.safe_load(text)["items"]]


def pods() -> Iterator[tuple[str, dict[str, Any]]]:
    for one in manifests():
        if "template" in one["spec"]:
            yield one["metadata"]["name"], one["spec"]["template"]["spec"]


def exec_lines() -> Iterator[str]:
    for path in SYSTEMD.glob("*.service"):
        for line in path.read_text("utf-8").splitlines():
            if line.startswith(f"ExecStart={PROGRAM} "):
                yield line.removeprefix(f"ExecStart={PROGRAM} ")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="this machine has no systemd")
def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path) -> None:
    units = [*SYSTEMD.glob("*.service"), *SYSTEMD.glob("*.target")]
    for path in units:  # it looks whether the program is there
        (tmp_path / path.name).write_text(path.read_text("utf-8").replace(PROGRAM, "/bin/true"))
    names = [str(tmp_path / path.name).replace("@.", "@one.") for path in units]
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *names],
        env={"SYSTEMD_UNIT_PATH": f"{tmp_path}:", "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_units_run_commands_that_exist() -> None:
    lines = list(exec_lines())
    assert {line.split()[0] for line in lines} == {"worker", "beat", "exporter", "dashboard"}
    for line in lines:
        command, _ = find_command(line)
        assert command is not cli


@pytest.mark.parametrize("path", sorted(SYSTEMD.glob("*.service")), ids=lambda path: path.stem)
def test_a_unit_is_given_the_secrets_that_its_settings_name_and_no_others(path: Path) -> None:
    text = path.read_text("utf-8")
    assert settings_in(text) <= {f"DNSWORKER_{name.upper()}" for name in Settings.model_fields}
    given = set(re.findall(r"^LoadCredential=(\w+):/etc/dnsworker/secrets/\1$", text, re.MULTILINE))
    assert given == {one or other for one, other in re.findall(r"%d/(\w+)|CREDENTIALS_DIRECTORY/(\w+)", text)}
    assert (ROOT / text.partition("Documentation=file:///opt/dnsworker/")[2].partition("\n")[0]).exists()


#: KEDA's kinds are another's; a test below reads them.
OF_KUBERNETES = [one for one in manifests() if not one["apiVersion"].startswith("keda.sh/")]


@pytest.mark.parametrize("one", OF_KUBERNETES, ids=lambda one: f"{one['kind']} {one['metadata']['name']}")
def test_kubernetes_would_take_it(one: dict[str, Any]) -> None:
    kubernetes_validate.validate(one, kubernetes_validate.latest_version(), strict=True)


def test_pods_run_commands_and_settings_that_exist_without_rights() -> None:
    known = {f"DNSWORKER_{name.upper()}" for name in Settings.model_fields}
    taken = set[str]()
    for name, pod in pods():
        assert pod["securityContext"]["runAsNonRoot"], name
        (container,) = pod["containers"]
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}, name
        assert settings_in(" ".join(each["name"] for each in container["env"])) <= known
        if "args" in container:
            find_command(shlex.join(container["args"]))
            if "-Q" in container["args"]:
                names = container["args"][container["args"].index("-Q") + 1].split(",")
                taken |= {queue.name for queue in queues.select_queues(names, ["one"])}
                # Else what runs is cut off when a pod is taken away.
                assert pod["terminationGracePeriodSeconds"] > Settings().shutdown_grace_s
    assert taken == {queue.name for queue in queues.all_queues(["one"])}


def test_pods_are_probed_at_the_port_and_paths_that_they_answer_at() -> None:
    for name, pod in pods():
        (container,) = pod["containers"]
        if name == "dnsworker-setup":
            continue  # a job ends by itself
        (port,) = container["ports"]
        paths = {
            kind: (probe["path"], probe["port"])
            for kind in ("startupProbe", "livenessProbe", "readinessProbe")
            for probe in [container[kind]["httpGet"]]
        }
        live, ready = ("/health/live", port["name"]), ("/health/ready", port["name"])
        assert paths == {"startupProbe": live, "livenessProbe": live, "readinessProbe": ready}, name
        env = {each["name"]: each["value"] for each in container["env"]}
        if container["args"][0] == "dashboard":
            at = container["args"][1:]
        else:
            at = ["--host", env["DNSWORKER_METRICS_HOST"], "--port", env["DNSWORKER_METRICS_PORT"]]
        assert at == ["--host", "0.0.0.0", "--port", str(port["containerPort"])], name
        # Else a process says why it isn't ready to somebody who doesn't listen any more.
        assert container["readinessProbe"]["timeoutSeconds"] > DATABASE_S


def test_services_lead_to_pods_that_are_there() -> None:
    labels = {
        name: one["spec"]["template"]["metadata"]["labels"]
        for one in manifests()
        if "template" in one["spec"]
        for name in [one["metadata"]["name"]]
    }
    for one in [one for one in manifests() if one["kind"] == "Service"]:
        assert labels[one["metadata"]["name"]] == one["spec"]["selector"]
        pod = dict(pods())[one["metadata"]["name"]]
        (port,) = one["spec"]["ports"]
        assert port["targetPort"] in {each["name"] for each in pod["containers"][0]["ports"]}


def test_keda_scales_deployments_that_are_there_by_secrets_that_are_there() -> None:
    documents = manifests()
    deployments = {one["metadata"]["name"]: one for one in documents if one["kind"] == "Deployment"}
    (authentication,) = [one for one in documents if one["kind"] == "TriggerAuthentication"]
    files = {
        Path(each["value"]).name
        for _, pod in pods()
        for each in pod["containers"][0]["env"]
        if each["name"].endswith("_FILE")
    }
    assert {each["key"] for each in authentication["spec"]["secretTargetRef"]} <= files
    for one in [one for one in documents if one["kind"] == "ScaledObject"]:
        spec = one["spec"]
        scaled = deployments[spec["scaleTargetRef"]["name"]]
        assert scaled["spec"].get("replicas", spec["minReplicaCount"]) == spec["minReplicaCount"]
        assert spec["minReplicaCount"] < spec["maxReplicaCount"]
        (trigger,) = spec["triggers"]
        assert trigger["authenticationRef"]["name"] == authentication["metadata"]["name"]
        if trigger["type"] == "rabbitmq":
            assert trigger["metadata"]["queueName"] in {queue.name for queue in queues.all_queues([])}
