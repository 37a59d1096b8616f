"""Services of docker-compose.yml without a container engine: each in Linux namespaces of its own.

What an engine would do with a service is done with the same things: a file system that is thrown away, a
network with names, secrets and volumes at their places, the user, the capabilities, `read_only`. What
the images bring comes from this machine instead: the servers as they are installed, the code as it is checked
out. So the file's own commands, environment, settings and health checks run, and the RUN lines of
Dockerfiles don't.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from dev.program import ROOT
from dev.servers.folders import make_folder, remove_folder
from dev.servers.process import Process, ServerError, tail
from dev.servers.rabbitmq import SCRIPTS

RESOLVER = "198.51.100.1"
NETWORK = "198.51.100"  # RFC 5737; a bridge that nothing outside of these rooms can reach
INSIDE = Path(__file__).with_name("room_inside.py")
BRIDGE = "02:00:00:00:00:01"
NAMES = Path(__file__).with_name("room_names.py")
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
COMPOSE = Path(sys.executable).with_name("docker-compose")
UNIT_S = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


@dataclass(frozen=True)
class Image:
    """What an image brings to its containers."""

    entrypoint: list[str]
    command: list[str] = field(default_factory=list)
    user: str = "0"
    env: Mapping[str, str] = field(default_factory=dict)
    workdir: str = "/"
    files: Mapping[str, str] = field(default_factory=dict)
    stop_signal: signal.Signals = signal.SIGTERM
    #: Puts into a new volume what the image has at that place.
    fill: Callable[[Path], None] = lambda _: None

    @property
    def ids(self) -> tuple[int, int]:
        if self.user.isdigit():
            return int(self.user), int(self.user)
        account = pwd.getpwnam(self.user)
        return account.pw_uid, account.pw_gid


def read_dockerfile(path: Path) -> Image:
    """The last stage's ENTRYPOINT, CMD, USER, ENV and WORKDIR."""
    text = re.split(r"^FROM .*$", path.read_text("utf-8").replace("\\\n", ""), flags=re.MULTILINE)[-1]
    found = {key: value.strip() for key, value in re.findall(r"^([A-Z]+) (.*)$", text, re.MULTILINE)}
    pairs = (word.split("=", 1) for word in found.get("ENV", "").split())
    return Image(
        entrypoint=json.loads(found["ENTRYPOINT"]),
        command=json.loads(found.get("CMD", "[]")),
        user=found.get("USER", "0"),
        env={name: value.replace("$PATH", SYSTEM_PATH) for name, value in pairs},
        workdir=found.get("WORKDIR", "/"),
    )


def compose_config(folder: Path, *profiles: str) -> dict[str, Any]:
    """The file as Docker Compose understands it, anchors, defaults and all. Raises `ServerError`."""
    chosen = [word for profile in profiles for word in ("--profile", profile)]
    done = subprocess.run(
        [COMPOSE, *chosen, "config", "--format", "json"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode or done.stderr:
        raise ServerError(f"docker compose config: {done.stderr.strip()}")
    # Compose gives back what it would read again: a dollar is written twice.
    return json.loads(done.stdout.replace("$$", "$"))  # type: ignore[no-any-return]


class Room:
    """One container of a service: `docker compose up` and `run` start it, `docker compose exec` looks in."""

    def __init__(
        self, house: House, name: str, service: Mapping[str, Any], address: str, command: Sequence[str] = ()
    ) -> None:
        self.name, self.service, self.address = name, service, address
        self.image = house.image_of(service)
        self.log_path = house.folder / f"{name}.log"
        self._house = house
        self.hostname = service.get("hostname") or f"{abs(hash(name)) % 16**12:012x}"
        spec = self._spec(list(command))
        self._env: dict[str, str] = spec["env"]
        path = house.folder / f"{name}.json"
        path.write_text(json.dumps(spec))
        self._process = Process(
            # New namespaces; the child is killed with whoever has made them.
            ["unshare", "--net", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child=KILL",
             sys.executable, "-I", str(INSIDE), str(path)],
            log_path=self.log_path,
        )  # fmt: skip
        self._checked_at = time.monotonic()
        house.plug_in(self)

    def _spec(self, command: list[str]) -> dict[str, Any]:
        service, image, house = self.service, self.image, self._house
        uid, gid = image.ids
        folder = house.folder / f"{self.name}.room"
        folder.mkdir(exist_ok=True)  # of the container that this one replaces
        entrypoint = service.get("entrypoint") or image.entrypoint
        # An entrypoint of the file's own takes the image's command away, as in an engine.
        default = [] if service.get("entrypoint") else image.command
        return {
            "folder": str(folder),
            "hostname": self.hostname,
            "address": self.address,
            "argv": [*entrypoint, *(command or service.get("command") or default)],
            "workdir": image.workdir,
            "uid": uid,
            "gid": gid,
            "env": {
                "PATH": SYSTEM_PATH,
                "HOME": "/nonexistent",
                "HOSTNAME": self.hostname,
                **image.env,
                **service.get("environment", {}),
            },
            "readable": [
                str(ROOT),
                sys.prefix,
                sys.base_prefix,
                str(Path(sys.executable).resolve().parents[1]),
            ],
            "tmpfs": service.get("tmpfs", []),
            "files": {
                **image.files,
                "/etc/hosts": f"127.0.0.1 localhost\n{self.address} {self.hostname}\n",
                "/etc/resolv.conf": f"nameserver {RESOLVER}\n",
            },
            "mounts": [*self._secrets(), *self._volumes(uid, gid)],
            **{key: service.get(key, []) for key in ("cap_drop", "security_opt")},
            "sysctls": service.get("sysctls", {}),
            "read_only": service.get("read_only", False),
            "init": service.get("init", False),
        }

    def _secrets(self) -> list[dict[str, Any]]:
        files = self._house.config["secrets"]
        return [
            {"source": files[one["source"]]["file"], "target": one["target"], "read_only": True}
            for one in self.service.get("secrets", [])
        ]

    def _volumes(self, uid: int, gid: int) -> list[dict[str, Any]]:
        found = []
        for volume in self.service.get("volumes", []):
            source = Path(volume["source"])
            if volume["type"] == "volume":
                source = self._house.volumes / volume["source"]
                if not source.exists():
                    source.mkdir()
                    self.image.fill(source)
                    for path in (source, *source.rglob("*")):
                        os.chown(path, uid, gid)
            read_only = volume.get("read_only", False)
            found.append({"source": str(source), "target": volume["target"], "read_only": read_only})
        return found

    @property
    def pid(self) -> int:
        """Of its first process, as the machine counts."""
        outer = self._process.pid
        children = Path(f"/proc/{outer}/task/{outer}/children").read_text().split()
        if not children:
            raise ServerError(f"{self.name} has ended")
        return int(children[0])

    @property
    def namespaces(self) -> int:
        return self._process.pid

    def exec(self, *argv: str, timeout_s: float = 60.0) -> subprocess.CompletedProcess[str]:
        """`docker compose exec`: a command beside the program, as the same user, in the same environment."""
        uid, gid = self.image.ids
        return subprocess.run(
            ["nsenter", "--target", str(self.pid), "--all", "--root", "--wd", "setpriv", f"--reuid={uid}",
             f"--regid={gid}", "--clear-groups", "env", "-i",
             *(f"{name}={value}" for name, value in self._env.items()), *argv],
            capture_output=True, text=True, timeout=timeout_s, check=False,
        )  # fmt: skip

    def is_healthy(self) -> bool:
        """By its own health check, as often as that says; a service without one is healthy while it runs."""
        if not self._process.is_running:
            raise ServerError(f"{self.name} ended with {self._process.returncode}\n{tail(self.log_path)}")
        check = self.service.get("healthcheck")
        if check is None:
            return True
        # An engine waits before the first time, too.
        if time.monotonic() < self._checked_at + seconds(check.get("start_interval") or check["interval"]):
            return False
        self._checked_at = time.monotonic()
        return self._passes(check)

    def _passes(self, check: Mapping[str, Any]) -> bool:
        kind, *words = check["test"]
        argv = ["sh", "-c", words[0]] if kind == "CMD-SHELL" else words
        try:
            return self.exec(*argv, timeout_s=seconds(check["timeout"])).returncode == 0
        except (subprocess.TimeoutExpired, ServerError):
            return False

    def end(self, timeout_s: float) -> int:
        """Wait for its end; its exit code. Raises `ServerError` when it doesn't come."""
        if not self._process.wait(timeout_s):
            raise ServerError(f"{self.name} has not ended in {timeout_s:g} s\n{tail(self.log_path)}")
        code = self._process.returncode
        assert code is not None
        return code

    def stop(self) -> int:
        """`docker compose stop`: the signal, and no more than `stop_grace_period`. Its exit code."""
        os.kill(self.pid, self.image.stop_signal)
        return self.end(seconds(self.service.get("stop_grace_period", "10s")))

    def kill(self) -> None:
        self._process.kill()


class House:
    """The rooms of one compose file, in a network where they know each other by name."""

    def __init__(
        self, folder: Path, config: Mapping[str, Any], scale: Mapping[str, int] | None = None
    ) -> None:
        self.folder, self.config, self._scale = make_folder("rooms"), config, dict(scale or {})
        # Others than root look for their files in it.
        self.folder.chmod(0o711)
        self.volumes = self.folder / "volumes"
        self.volumes.mkdir()
        self.rooms: dict[str, Room] = {}
        self._checkout = folder
        self._numbers = iter(range(100, 250))
        self._addresses = {
            self._room_name(service, number): f"{NETWORK}.{10 + index}"
            for index, (service, number) in enumerate(
                (service, number)
                for service in config["services"]
                for number in range(1, self._scale.get(service, 1) + 1)
            )
        }
        names = json.dumps(self._names())
        # With an address of its own: else it has that of one of its ports, another one when a room comes or
        # goes, and for seconds whoever knew the old one finds no resolver.
        bridge = [
            f"ip link add br0 address {BRIDGE} type bridge",
            f"ip addr add {RESOLVER}/24 dev br0",
            "ip link set br0 up",
        ]
        self._switch = Process(
            ["unshare", "--net", "sh", "-c", f'{" && ".join(bridge)} && exec "$@"', "sh",
             sys.executable, str(NAMES), RESOLVER, names],
            log_path=self.folder / "switch.log",
        )  # fmt: skip
        self._cables = 0

    def up(self, timeout_s: float = 120.0) -> None:
        """`docker compose up --wait`: each service when what it depends on is there."""
        deadline = time.monotonic() + timeout_s
        waiting = dict(self.config["services"])
        done: set[tuple[str, str]] = set()
        while True:
            for name in [name for name in waiting if self._may_start(waiting[name], done)]:
                service = waiting.pop(name)
                for number in range(1, self._scale.get(name, 1) + 1):
                    room = self._room_name(name, number)
                    self.rooms[room] = Room(self, room, service, self._addresses[room])
            if not waiting and all(self._has_come_up(name, done) for name in self.config["services"]):
                return
            if time.monotonic() > deadline:
                missing = sorted(
                    name for name in self.config["services"] if not self._has_come_up(name, done)
                )
                raise ServerError(f"not up within {timeout_s:g} s: {', '.join(missing)}\n{self.logs()}")
            self._look(done)
            time.sleep(0.1)  # the pace of looking; what is waited for is the state

    def run(self, service: str, *command: str, timeout_s: float = 90.0) -> str:
        """`docker compose run --rm SERVICE COMMAND`: what it prints. Raises `ServerError` when it fails."""
        number = next(self._numbers)
        room = Room(
            self, f"{service}-run-{number}", self._all_services()[service], f"{NETWORK}.{number}", command
        )
        code = room.end(timeout_s)
        text = room.log_path.read_text("utf-8")
        if code:
            raise ServerError(f"{service} {' '.join(command)} ended with {code}: {text}")
        return text

    def recreate(self, service: str, timeout_s: float = 60.0) -> None:
        """`docker compose up -d --wait SERVICE`, when what is said of it has changed."""
        now = self._all_services()[service]
        deadline = time.monotonic() + timeout_s
        for name in [name for name in self.rooms if name.rpartition("-")[0] == service]:
            self.rooms[name].stop()
            room = self.rooms[name] = Room(self, name, now, self._addresses[name])
            while not room.is_healthy():
                if time.monotonic() > deadline:
                    raise ServerError(f"{name} is not healthy within {timeout_s:g} s\n{self.logs()}")
                time.sleep(0.1)  # the pace of looking; what is waited for is the state

    def plug_in(self, room: Room) -> None:
        """A cable from the room to the bridge."""
        self._cables += 1
        port = f"port{self._cables}"
        switch = ["nsenter", "--target", str(self._switch.pid), "--net", "ip", "link"]
        peer = ["peer", "name", "eth0", "netns", str(room.namespaces)]
        for words in (["add", port, "type", "veth", *peer], ["set", port, "master", "br0", "up"]):
            self._until(lambda words=words: _succeeds([*switch, *words]), f"{room.name}: ip link {words[0]}")

    def _names(self) -> dict[str, list[str]]:
        """What an engine's own resolver knows: a service by all its containers, and each container."""
        found: dict[str, list[str]] = {}
        for room, address in self._addresses.items():
            found[room] = [address]
            found.setdefault(room.rpartition("-")[0], []).append(address)
        return found

    def image_of(self, service: Mapping[str, Any]) -> Image:
        build = service.get("build")
        if build is None:
            return IMAGES[service["image"].partition(":")[0]]
        image = read_dockerfile(Path(build["context"]) / build["dockerfile"])
        context = Path(build["context"])
        files = {
            target: (context / source).read_text("utf-8")
            for source, target in re.findall(
                r"^COPY (\S+\.conf) (\S+)$", (context / build["dockerfile"]).read_text("utf-8"), re.MULTILINE
            )
        }
        if service["image"].startswith("dnsworker:"):
            # What is built as /venv and /app is here the interpreter that runs this, and the checkout.
            path = f"{sys.prefix}/bin:{SYSTEM_PATH}"
            env = {**image.env, "PATH": path, "PYTHONPATH": str(ROOT)}
            return replace(image, env=env, workdir=str(ROOT))
        fill = _new_powerdns if service["image"].startswith("dnsworker-powerdns") else (lambda _: None)
        return replace(image, files=files, fill=fill)

    def logs(self, lines: int = 15) -> str:
        return "\n".join(
            f"--- {path.name}\n{tail(path, lines)}" for path in sorted(self.folder.glob("*.log"))
        )

    def close(self) -> None:
        for room in self.rooms.values():
            room.kill()
        self._switch.kill()
        remove_folder(self.folder)

    def __enter__(self) -> Self:
        try:
            self.up()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, Exception):
            error.add_note(self.logs())
        self.close()

    def _room_name(self, service: str, number: int) -> str:
        return f"{service}-{number}"

    def _may_start(self, service: Mapping[str, Any], done: set[tuple[str, str]]) -> bool:
        return {(name, one["condition"]) for name, one in service.get("depends_on", {}).items()} <= done

    def _has_come_up(self, name: str, done: set[tuple[str, str]]) -> bool:
        return bool({(name, "service_healthy"), (name, "service_completed_successfully")} & done)

    def _look(self, done: set[tuple[str, str]]) -> None:
        for name in self.config["services"]:
            rooms = [room for key, room in self.rooms.items() if key.rpartition("-")[0] == name]
            if not rooms or self._has_come_up(name, done):
                continue
            if name in self._ends():
                if not rooms[0]._process.is_running:
                    if code := rooms[0].end(1):
                        raise ServerError(f"{name} ended with {code}\n{tail(rooms[0].log_path)}")
                    done.add((name, "service_completed_successfully"))
            elif all(room.is_healthy() for room in rooms):
                done.add((name, "service_healthy"))

    def _ends(self) -> set[str]:
        """Services that somebody waits for the end of."""
        return {
            name
            for service in self.config["services"].values()
            for name, one in service.get("depends_on", {}).items()
            if one["condition"] == "service_completed_successfully"
        }

    def _all_services(self) -> dict[str, Any]:
        return compose_config(self._checkout, "*")["services"]  # type: ignore[no-any-return]

    def _until(self, condition: Callable[[], bool], what: str, timeout_s: float = 10.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                raise ServerError(f"waited {timeout_s:g} s for {what}\n{self.logs()}")
            time.sleep(0.02)


def seconds(text: str) -> float:
    """Of a duration as Compose writes it: `1m30s`."""
    return sum(float(number) * UNIT_S[unit] for number, unit in re.findall(r"([\d.]+)(ms|h|m|s)", text))


def _succeeds(argv: Sequence[str]) -> bool:
    return subprocess.run(argv, capture_output=True, timeout=10, check=False).returncode == 0


def _new_powerdns(folder: Path) -> None:
    """The RUN line of deploy/powerdns/Dockerfile: its database, from the schema that it names."""
    text = (ROOT / "deploy" / "powerdns" / "Dockerfile").read_text("utf-8")
    (schema,) = re.findall(r"< (\S+\.sql)", text)
    connection = sqlite3.connect(folder / "pdns.sqlite3")
    connection.executescript(Path(schema).read_text("utf-8"))
    connection.close()


#: What the image's entrypoint does with an empty volume, in short.
POSTGRES = """
set -e
data=/var/lib/postgresql/data/pgdata
initdb --pgdata "$data" --username "$POSTGRES_USER" --pwfile "$POSTGRES_PASSWORD_FILE" \
    --auth scram-sha-256 --encoding UTF8 --locale C --no-sync >/dev/null
echo "host all all all scram-sha-256" >> "$data/pg_hba.conf"
echo "local all all trust" > "$data/pg_hba.first"
cat "$data/pg_hba.conf" >> "$data/pg_hba.first" && mv "$data/pg_hba.first" "$data/pg_hba.conf"
pg_ctl --pgdata "$data" --options "-c listen_addresses= -c unix_socket_directories=/tmp" \
    --wait start >/dev/null
createdb --host /tmp --username "$POSTGRES_USER" "$POSTGRES_DB"
pg_ctl --pgdata "$data" --mode fast --wait stop >/dev/null
exec postgres -D "$data" -c listen_addresses='*' -c unix_socket_directories=/tmp
"""


def _postgres_path() -> str:
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
    return f"{folders[-1] if folders else '/usr/lib/postgresql/bin'}:{SYSTEM_PATH}"


def _rabbitmq_scripts() -> str:
    return next((folder for folder in SCRIPTS if shutil.which("rabbitmq-server", path=folder)), SCRIPTS[0])


IMAGES = {
    "rabbitmq": Image(
        ["rabbitmq-server"],
        user="rabbitmq",
        env={
            "PATH": f"{_rabbitmq_scripts()}:{SYSTEM_PATH}",
            "HOME": "/var/lib/rabbitmq",
            "LANG": "C.UTF-8",
            "RABBITMQ_LOGS": "-",
        },
        # Of the variant `management`.
        files={
            "/etc/rabbitmq/enabled_plugins": "[rabbitmq_management].\n",
            # This machine's own, which the image hasn't got.
            "/etc/rabbitmq/rabbitmq.conf": "",
            "/etc/rabbitmq/rabbitmq-env.conf": "",
        },
    ),
    "postgres": Image(
        ["sh", "-c", POSTGRES],
        user="postgres",
        env={"PATH": _postgres_path()},
        stop_signal=signal.SIGINT,
    ),
    "redis": Image([], user="redis"),
    # What the image's Dockerfile says; here it is Debian's version.
    "prom/prometheus": Image(
        ["/bin/prometheus"],
        ["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"],
        user="nobody",
        workdir="/prometheus",
    ),
}
