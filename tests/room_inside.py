"""The first process of a room (`tests/rooms.py`): furnishes it, then becomes the program that lives there.

It runs in new namespaces, as their root, with the standard library alone. What it is told is a JSON file.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

LINK = "eth0"
LINK_WAIT_S = 30.0


def main() -> None:
    room: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    _connect(room)
    socket.sethostname(room["hostname"])
    root = _furnish(room)
    os.chroot(root)
    os.chdir(room["workdir"])
    os.umask(0o022)
    if room["init"]:
        _become_init()
    argv = [*_as_whom(room), *room["argv"]]
    os.execvpe(argv[0], argv, room["env"])


def _become_init() -> None:
    """Returns in a child. The parent is what `init: true` brings: it passes signals on and ends likewise.

    The first process of a PID namespace gets no signal that it doesn't handle.
    """
    child = os.fork()
    if not child:
        return
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, _: os.kill(child, number))
    while True:
        ended, status = os.wait()  # orphans, too
        if ended == child:
            code = os.waitstatus_to_exitcode(status)
            sys.exit(code if code >= 0 else 128 - code)


def _connect(room: dict[str, Any]) -> None:
    """Use the cable that is put into this network namespace from outside."""
    _run("ip", "link", "set", "lo", "up")
    deadline = time.monotonic() + LINK_WAIT_S
    while LINK not in {name for _, name in socket.if_nameindex()}:
        if time.monotonic() > deadline:
            sys.exit(f"no {LINK} within {LINK_WAIT_S:g} s")
        time.sleep(0.01)
    _run("ip", "addr", "add", f"{room['address']}/24", "dev", LINK)
    _run("ip", "link", "set", LINK, "up")
    for name, value in room["sysctls"].items():
        Path("/proc/sys", name.replace(".", "/")).write_text(str(value))


def _furnish(room: dict[str, Any]) -> Path:
    """The machine's own files with a layer on top that is thrown away; mounts, secrets and volumes in it."""
    folder = Path(room["folder"])
    _run("mount", "--make-rprivate", "/")
    _run("mount", "-t", "tmpfs", "-o", "mode=755", "room", str(folder))
    root, upper, work = (folder / name for name in ("root", "upper", "work"))
    for each in (root, upper, work):
        each.mkdir()
    _run("mount", "-t", "overlay", "-o", f"lowerdir=/,upperdir={upper},workdir={work}", "room", str(root))
    for device in ("dev", "sys"):
        _run("mount", "--rbind", f"/{device}", str(root / device))
    _run("mount", "-t", "proc", "proc", str(root / "proc"))
    _run("mount", "-t", "tmpfs", "-o", "mode=755", "run", str(root / "run"))
    # Whoever isn't root must reach the interpreter and the code, wherever they lie.
    for path in room["readable"]:
        for parent in reversed(Path(path).parents):
            inside = root / parent.relative_to("/")
            inside.chmod(inside.stat().st_mode | 0o011)
    for path in room["tmpfs"]:
        _run("mount", "-t", "tmpfs", "-o", "mode=1777", "tmp", str(_made(root, path)))
    for path in room["readable"]:  # even where a mount has just covered it
        place = _made(root, path)
        _run("mount", "--bind", path, str(place))
        _run("mount", "-o", "remount,bind,ro", str(place))
    for path, text in room["files"].items():
        place = root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    for mount in room["mounts"]:
        place = root / mount["target"].lstrip("/")
        if Path(mount["source"]).is_dir():
            _made(root, mount["target"])
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.touch()
        _run("mount", "--bind", mount["source"], str(place))
        if mount["read_only"]:
            _run("mount", "-o", "remount,bind,ro", str(place))
    if room["read_only"]:
        _run("mount", "-o", "remount,ro", str(root))
    return root


def _made(root: Path, path: str) -> Path:
    place = root / path.lstrip("/")
    place.mkdir(parents=True, exist_ok=True)
    return place


def _as_whom(room: dict[str, Any]) -> list[str]:
    setpriv = shutil.which("setpriv") or "/usr/bin/setpriv"
    argv = [setpriv, f"--reuid={room['uid']}", f"--regid={room['gid']}", "--clear-groups"]
    if "ALL" in room["cap_drop"]:
        argv += ["--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all"]
    if "no-new-privileges:true" in room["security_opt"]:
        argv += ["--no-new-privs"]
    return argv


def _run(*argv: str) -> None:
    subprocess.run(argv, check=True, timeout=30)


if __name__ == "__main__":
    main()
