"""The `zonefile` backend where the shipped suite doesn't go: files, locks, commands, and what can fail."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from backends.zonefile import BACKEND
from dnsworker.backend import Backend
from dnsworker.contents import ZoneContents
from dnsworker.errors import (
    AuthenticationFailed,
    BackendError,
    Busy,
    ClaimLost,
    RecordRejected,
    ServerFailure,
    Unreachable,
    Unsupported,
    ZoneChanged,
    ZoneMissing,
)
from dnsworker.names import Name
from dnsworker.plan import Plan, RRsetChange
from dnsworker.records import SOA, RRset

ZONE = Name("example.org.")
MakeBackend = Callable[..., Backend]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "zones"
    folder.mkdir()
    return folder


@pytest.fixture
def make(folder: Path) -> MakeBackend:
    def make(*, timeout_s: float = 5.0, **options: object) -> Backend:
        model = BACKEND.options_model.model_validate({"folder": str(folder), **options})
        return BACKEND("files", model, timeout_s=timeout_s)

    return make


def contents(*rrsets: RRset, name: str = ZONE, serial: int = 1) -> ZoneContents:
    apex = Name(name)
    soa = SOA(Name("ns1.example.net."), Name("hostmaster.example.net."), serial)
    return ZoneContents.of(apex, soa, [RRset(apex, "NS", 60, ["ns1.example.net."]), *rrsets])


def put(zone: ZoneContents, *rrsets: RRset) -> tuple[Plan, ZoneContents]:
    """A plan, and what it leads to."""
    changes = tuple(RRsetChange(zone.rrsets.get(rrset.key), rrset) for rrset in rrsets)
    soa = zone.soa.with_serial(zone.soa.serial + 1)
    after = {**zone.rrsets, **{rrset.key: rrset for rrset in rrsets}}
    return Plan(zone.name, zone.soa, soa, changes), ZoneContents(soa, after, zone.name)


def www(zone: str = ZONE, address: str = "192.0.2.1") -> RRset:
    return RRset(f"www.{zone}", "A", 60, [address])


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def all_calls(backend: Backend, zone: ZoneContents) -> list[Callable[[], object]]:
    plan, _ = put(zone, www(address="192.0.2.9"))
    return [
        lambda: backend.read_zone(zone.name),
        lambda: backend.read_soa(zone.name),
        lambda: backend.read_rrsets(zone.name, [(zone.name, "NS")]),
        lambda: backend.create_zone(contents(www(address="192.0.2.8"), serial=9)),
        lambda: backend.apply(plan),
        lambda: backend.delete_zone(zone.name),
    ]


class Stop(ClaimLost):
    """Raised where the claim is renewed, in place of a worker's end."""


def stop() -> None:
    raise Stop


# Files


def test_a_zones_life_leaves_nothing_but_its_file(make: MakeBackend, folder: Path) -> None:
    backend = make(reload_command=["true"])
    zone = contents()
    backend.create_zone(zone)
    plan, after = put(zone, www())
    backend.apply(plan)
    assert backend.read_zone(ZONE) == after
    assert listing(folder) == [".example.org.zone.lock", "example.org.zone"]
    assert (folder / ".example.org.zone.lock").read_bytes() == b""
    backend.delete_zone(ZONE)
    assert listing(folder) == []
    with pytest.raises(ZoneMissing):
        backend.apply(plan)
    assert listing(folder) == []


def test_a_file_keeps_its_mode_and_a_new_one_can_be_read_by_all(make: MakeBackend, folder: Path) -> None:
    backend = make()
    zone = contents()
    previous = os.umask(0o077)
    try:
        backend.create_zone(zone)
        assert (folder / "example.org.zone").stat().st_mode & 0o777 == 0o644
        (folder / "example.org.zone").chmod(0o664)
        backend.apply(put(zone, www())[0])
        assert (folder / "example.org.zone").stat().st_mode & 0o777 == 0o664
    finally:
        os.umask(previous)


def test_a_reader_finds_a_whole_file_at_any_moment(make: MakeBackend, folder: Path) -> None:
    many = [RRset(f"h{number}.{ZONE}", "A", 60, ["192.0.2.1"]) for number in range(2000)]
    zone = contents(*many)
    make().create_zone(zone)
    whole, is_done, torn = (folder / "example.org.zone").read_bytes().count(b"\n"), threading.Event(), []

    def watch() -> None:
        while not is_done.is_set():
            lines = (folder / "example.org.zone").read_bytes().count(b"\n")
            if lines != whole:
                torn.append(lines)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        backend = make()
        for number in range(20):
            plan, zone = put(zone, RRset(f"h0.{ZONE}", "A", 60, [f"192.0.2.{number + 1}"]))
            backend.apply(plan)
    finally:
        is_done.set()
        watcher.join()
    assert torn == []


def test_a_writer_that_is_stopped_leaves_the_old_file_and_the_next_goes_on(
    make: MakeBackend, folder: Path
) -> None:
    zone = contents()
    make().create_zone(zone)
    plan, after = put(zone, www())
    stopped = make(check_command=["true"])
    stopped.renew = stop
    (folder / ".example.org.zone.new").write_text("half of a")  # as a kill -9 leaves it
    with pytest.raises(Stop):
        stopped.apply(plan)
    assert make().read_zone(ZONE) == zone
    make().apply(plan)
    assert make().read_zone(ZONE) == after
    assert ".example.org.zone.new" not in listing(folder)


def test_a_zone_with_an_odd_name_has_a_file_in_the_folder(make: MakeBackend, folder: Path) -> None:
    backend = make()
    odd = (r"..\/\.\./etc.example.", "0/25.2.0.192.in-addr.arpa.", "a" * 63 + "." + "/" * 60 + ".example.")
    for name in odd:
        zone = contents(name=Name(name.replace("..\\/", "x/")))
        backend.create_zone(zone)
        assert backend.read_zone(zone.name) == zone
    assert len(listing(folder)) == 2 * len(odd)
    assert listing(folder.parent) == ["zones"]


# Somebody else's hand


@pytest.mark.parametrize(
    ("octets", "words"),
    [
        (b"", "it has no SOA"),
        (b"www 60 IN A 192.0.2.1\n", "it has no SOA"),
        (b"@ 60 IN SOA a. b. 1 2 3 4 5\n@ NS a.\nwww A 192.0.2.300\n", "line 3: "),
        (b"@ 60 IN SOA a. b. 1 2 3 4 5\n$INCLUDE other\n", "line 2: .*INCLUDE"),
        (b"@ 60 IN SOA a. b. 1 2 3 4 5\nwww TXT \"caf\xe9\"\n", "line 2: it is not UTF-8"),
        (b"@ 60 IN SOA a. b. 1 2 3 4 5 (\n", "line 1: a parenthesis"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_read_is_named_with_its_line_and_never_absent(
    make: MakeBackend, folder: Path, octets: bytes, words: str
) -> None:
    backend, zone = make(), contents()
    backend.create_zone(zone)
    path = folder / "example.org.zone"
    path.write_bytes(octets)
    *_, apply, delete = all_calls(backend, zone)
    for call in (*all_calls(backend, zone)[:3], apply):
        with pytest.raises(ServerFailure, match=f"{path} can't be read: .*{words}"):
            call()
    assert path.read_bytes() == octets
    path.unlink()
    backend.create_zone(zone)
    assert backend.read_zone(ZONE) == zone
    path.write_bytes(octets)
    delete()
    assert listing(folder) == []


def test_something_else_in_the_files_place_is_not_the_zone_and_not_its_absence(
    make: MakeBackend, folder: Path
) -> None:
    backend = make()
    (folder / "example.org.zone").mkdir()
    with pytest.raises(Unreachable, match=r"example\.org\.zone is no file"):
        backend.read_zone(ZONE)
    (folder / "example.org.zone").rmdir()
    os.mkfifo(folder / "example.org.zone")  # reading one would wait for ever
    with pytest.raises(Unreachable, match=r"example\.org\.zone is no file"):
        backend.read_zone(ZONE)


def test_an_edit_without_a_new_serial_is_seen_at_once(make: MakeBackend, folder: Path) -> None:
    backend = make()
    backend.create_zone(contents(www()))
    assert backend.read_zone(ZONE) == contents(www())
    path = folder / "example.org.zone"
    before = path.stat()
    path.write_text(path.read_text().replace("192.0.2.1", "192.0.2.9"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # same size, same time
    assert backend.read_zone(ZONE) == contents(www(address="192.0.2.9"))


def test_a_stale_writer_is_refused_however_slow_it_is(make: MakeBackend) -> None:
    """It is held up when it has compared the SOA: until it is done nobody else can write."""
    zone = contents()
    make().create_zone(zone)
    slow, quick = make(), make(timeout_s=0.2)
    ours, after = put(zone, www())
    theirs, _ = put(zone, www(address="192.0.2.66"))
    refused: list[type[BackendError]] = []

    def meanwhile() -> None:
        with pytest.raises(BackendError) as caught:
            quick.apply(theirs)
        refused.append(caught.type)

    slow.renew = meanwhile
    slow.apply(ours)
    with pytest.raises(ZoneChanged, match=r"at serial 2 .*, and not, as the plan expects, at 1"):
        quick.apply(theirs)
    assert refused == [Busy]
    assert make().read_zone(ZONE) == after


def test_a_lock_that_went_with_its_zone_holds_nobody(
    make: MakeBackend, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever had opened it finds it gone from the folder, and takes the one that is there."""
    make().create_zone(contents())
    first, second = make(), make(timeout_s=30)
    has_opened, is_deleted = threading.Event(), threading.Event()
    waiter = threading.Thread(target=lambda: second.create_zone(contents(serial=5)))
    flock = fcntl.flock

    def lock_late(descriptor: int, operation: int) -> None:
        if threading.current_thread() is waiter and not is_deleted.is_set():
            has_opened.set()
            is_deleted.wait(30)
        flock(descriptor, operation)

    def begin() -> None:
        waiter.start()
        has_opened.wait(30)

    monkeypatch.setattr("backends.zonefile.folder.fcntl.flock", lock_late)
    first.renew = begin
    first.delete_zone(ZONE)
    is_deleted.set()
    waiter.join(30)
    assert make().read_zone(ZONE) == contents(serial=5)
    assert listing(folder) == [".example.org.zone.lock", "example.org.zone"]


# The folder


def test_a_folder_that_is_gone_is_unreachable_and_no_zone_is_absent(make: MakeBackend, folder: Path) -> None:
    backend, zone = make(), contents()
    backend.create_zone(zone)
    folder.rename(folder.parent / "elsewhere")
    for call in all_calls(backend, zone):
        with pytest.raises(Unreachable, match=f"{folder}: No such file or directory; is the folder there"):
            call()
    assert not backend.check().ok
    assert str(folder) in backend.check().message
    (folder.parent / "elsewhere").rename(folder)
    assert backend.check().ok
    assert backend.read_zone(ZONE) == zone


@contextmanager
def without_rights(folder: Path) -> Iterator[None]:
    """The folder as somebody who isn't allowed to: another account where we are root."""
    if os.geteuid():
        folder.chmod(0)
        yield
        folder.chmod(0o700)
        return
    folder.chmod(0o700)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_folder_that_we_may_not_touch_is_a_matter_of_rights(make: MakeBackend, folder: Path) -> None:
    backend, zone = make(), contents()
    backend.create_zone(zone)
    with without_rights(folder):
        for call in all_calls(backend, zone):
            with pytest.raises(AuthenticationFailed, match="Permission denied; the worker's account"):
                call()
        assert not backend.check().ok
    assert backend.read_zone(ZONE) == zone


def test_a_disk_that_is_full_leaves_the_old_file(make: MakeBackend, folder: Path) -> None:
    """A limit of the file's size in place of a full disk: a part is written, and then no more."""
    backend, zone = make(), contents()
    backend.create_zone(zone)
    plan, after = put(zone, *(RRset(f"h{number}.{ZONE}", "A", 60, ["192.0.2.1"]) for number in range(5000)))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(Busy, match="File too large"):
            backend.apply(plan)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert backend.read_zone(ZONE) == zone
    assert listing(folder) == [".example.org.zone.lock", "example.org.zone"]
    backend.apply(plan)
    assert backend.read_zone(ZONE) == after


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (errno.ENOSPC, Busy),
        (errno.EDQUOT, Busy),
        (errno.EIO, Unreachable),
        (errno.EROFS, Unreachable),
        (errno.EPERM, AuthenticationFailed),
    ],
)
@pytest.mark.parametrize("function", ["fsync", "rename"])
def test_what_the_file_system_says_decides_the_error(
    make: MakeBackend,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    function: str,
    number: int,
    error: type[BackendError],
) -> None:
    zone = contents()
    make().create_zone(zone)
    plan, after = put(zone, www())

    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(f"backends.zonefile.folder.os.{function}", fail)
        with pytest.raises(error, match=os.strerror(number)) as caught:
            make().apply(plan)
        assert caught.type is error
    assert make().read_zone(ZONE) == zone
    assert ".example.org.zone.new" not in listing(folder)
    make().apply(plan)
    assert make().read_zone(ZONE) == after


# Commands


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str], str]:
    """An executable of these lines of shell."""

    def write(text: str) -> str:
        path = tmp_path / "script"
        path.write_text(f"#!/bin/sh\ncd {tmp_path}\n{text}\n")
        path.chmod(0o755)
        return str(path)

    return write


def test_the_reload_command_is_run_after_each_change_word_by_word(
    make: MakeBackend, folder: Path, tmp_path: Path, script: Callable[[str], str]
) -> None:
    log = """printf '%s|' "$@" >> log
if [ -e "$3" ]; then echo "serial $(head -1 "$3" | cut -d' ' -f3)" >> log; else echo gone >> log; fi"""
    backend = make(reload_command=[script(log), "$(id) ; {zone}", "{zone}", "{file}"])
    zone = contents()
    backend.create_zone(zone)
    backend.create_zone(zone)  # changes nothing
    backend.apply(put(zone, www())[0])
    assert backend.read_zone(ZONE)
    backend.delete_zone(ZONE)
    backend.delete_zone(ZONE)
    words = f"$(id) ; example.org|example.org|{folder}/example.org.zone|"
    assert (tmp_path / "log").read_text().splitlines() == [
        f"{words}serial 1", f"{words}serial 2", f"{words}gone",
    ]  # fmt: skip


def test_a_reload_that_fails_says_why_and_is_done_by_whatever_comes_next(
    make: MakeBackend, folder: Path, tmp_path: Path, script: Callable[[str], str]
) -> None:
    backend = make(reload_command=[script("[ -e well ] || { echo no server; echo at home >&2; exit 3; }")])
    zone = contents()
    words = "reload_command ended with status 3: no server at home"
    calls = [
        lambda: backend.create_zone(zone),
        *all_calls(backend, zone)[:3],
        lambda: backend.create_zone(zone),
    ]
    for call in calls:
        with pytest.raises(ServerFailure, match=words):
            call()
    assert (folder / "example.org.zone").exists()
    assert (folder / ".example.org.zone.lock").read_text().startswith("the reload command is due")
    (tmp_path / "well").touch()
    assert backend.read_zone(ZONE) == zone
    assert (folder / ".example.org.zone.lock").read_text() == ""
    (tmp_path / "well").unlink()
    for _ in range(2):
        with pytest.raises(ServerFailure, match=words):
            backend.delete_zone(ZONE)
        with pytest.raises(ServerFailure, match=words):  # the server may have it still
            backend.read_zone(ZONE)
    (tmp_path / "well").touch()
    backend.delete_zone(ZONE)
    assert backend.read_zone(ZONE) is None
    assert listing(folder) == []


def test_a_worker_that_ended_before_the_reload_has_it_done_by_the_next(
    make: MakeBackend, tmp_path: Path, script: Callable[[str], str]
) -> None:
    command = [script("echo reloaded >> log")]
    zone = contents()
    make(reload_command=command).create_zone(zone)
    plan, after = put(zone, www())
    stopped = make(check_command=["true"], reload_command=command)
    stopped.checkpoint = stop
    with pytest.raises(Stop):
        stopped.apply(plan)
    assert (tmp_path / "log").read_text() == "reloaded\n"
    assert make(reload_command=command).read_zone(ZONE) == after
    assert (tmp_path / "log").read_text() == "reloaded\nreloaded\n"


def test_a_reload_that_hangs_is_ended_with_all_that_it_started(
    make: MakeBackend, tmp_path: Path, script: Callable[[str], str]
) -> None:
    command = [script("echo working; sleep 600 & echo $! > pid; wait")]
    backend = make(reload_command=command, command_timeout_s=1)
    with pytest.raises(Busy, match="reload_command did not end within 1 s: working"):
        backend.create_zone(contents())
    pid = (tmp_path / "pid").read_text().strip()
    state = subprocess.run(
        ["ps", "-o", "stat=", "-p", pid], capture_output=True, text=True, timeout=10, check=False
    )
    assert state.stdout.strip()[:1] in ("", "Z")


def test_a_command_that_leaves_a_process_behind_is_not_waited_for(
    make: MakeBackend, tmp_path: Path, script: Callable[[str], str]
) -> None:
    backend = make(reload_command=[script("sleep 600 & echo $! > pid")])
    try:
        backend.create_zone(contents())
    finally:
        os.kill(int((tmp_path / "pid").read_text()), 9)


def test_a_program_that_is_not_there_is_said_by_check_too(make: MakeBackend) -> None:
    for option in ("check_command", "reload_command"):
        backend = make(**{option: ["no-such-program", "{file}"]})
        with pytest.raises(Unreachable, match=f"{option}: no-such-program can't be run: No such file"):
            backend.create_zone(contents())
        health = backend.check()
        assert not health.ok
        assert "no program no-such-program" in health.message


def test_a_command_is_told_none_of_our_settings(
    make: MakeBackend, tmp_path: Path, script: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DNSWORKER_DATABASE_URL", "postgresql://x:hunter2@db")
    make(reload_command=[script("env > seen")]).create_zone(contents())
    seen = (tmp_path / "seen").read_text()
    assert "PATH=" in seen
    assert "hunter2" not in seen


@pytest.mark.parametrize("name", ["-f.example.", "a&reboot.example.", r"a\;b.example.", "a`b.example."])
def test_a_name_that_a_program_could_misread_is_not_handed_to_it(
    make: MakeBackend, folder: Path, name: str
) -> None:
    zone = contents(name=name)
    for options in ({"reload_command": ["true", "{zone}"]}, {"check_command": ["true", "{zone}"]}):
        backend = make(**options)
        with pytest.raises(Unsupported, match="safely"):
            backend.create_zone(zone)
        assert listing(folder) == []
    backend = make(reload_command=["test", "-e", "{file}"])
    backend.create_zone(zone)
    assert backend.read_zone(Name(name)) == zone


def test_what_the_check_refuses_never_gets_into_place(make: MakeBackend, folder: Path) -> None:
    """named would not load a zone whose nameserver has no address in it."""
    backend = make(check_command=["named-checkzone", "-q", "{zone}", "{file}"])
    loud = make(check_command=["named-checkzone", "{zone}", "{file}"])
    zone = contents()
    backend.create_zone(zone)
    plan, _ = put(zone, RRset(ZONE, "NS", 60, [f"nowhere.{ZONE}"]))
    with pytest.raises(RecordRejected, match=r"check_command ended with status 1: .*no address records"):
        loud.apply(plan)
    with pytest.raises(RecordRejected):
        loud.create_zone(contents(name="net."))
    assert backend.read_zone(ZONE) == zone
    assert listing(folder) == [".example.org.zone.lock", "example.org.zone"]
    good, after = put(zone, www())
    backend.apply(good)
    assert backend.read_zone(ZONE) == after


def test_a_check_that_itself_fails_refuses_nothing(make: MakeBackend, script: Callable[[str], str]) -> None:
    for end, words in (
        ("exit 2", "status 2"),
        ("kill -9 $$", "status -9"),
        ("no-such-command", "status 127"),
    ):
        backend = make(check_command=[script(end)])
        with pytest.raises(ServerFailure, match=f"check_command ended with {words}"):
            backend.create_zone(contents())
        assert backend.read_zone(ZONE) is None


def test_the_words_of_a_command_are_of_bearable_length(
    make: MakeBackend, script: Callable[[str], str]
) -> None:
    backend = make(reload_command=[script("echo first; seq 1 100000; printf 'the \\033[31mlast\\n'; exit 1")])
    with pytest.raises(ServerFailure) as caught:
        backend.create_zone(contents())
    assert "first 1 2" in str(caught.value)
    assert str(caught.value).endswith("[31mlast")
    assert len(str(caught.value)) < 1000
    assert str(caught.value).isprintable()
