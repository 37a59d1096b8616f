"""What `dnsworker demo` does: a system of its own, some changes, and a question to its nameserver after each.

Separate from the command so that it is only imported by the one who takes the tour.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype
import dns.rrset

from dnsworker import Change, Client
from dnsworker.cli import output
from dnsworker.errors import ConfigError, DNSWorkerError, OperationFailed

ZONE = "demo.example."
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0
WAIT_S = 30.0
QUERY_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, and the answer that shows that the step was carried out.

    `data` are the rdata texts expected in the answer; none: no such data. `rcode` is the response code.
    """

    name: str
    type: str
    data: tuple[str, ...] = ()
    rcode: str = "NOERROR"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to show."""

    title: str
    act: Callable[[Client], Any]
    questions: Sequence[Question]
    #: The error code that the operation has to end with.
    refused_with: str | None = None


def _put(name: str, type: str, *data: str, ttl: int = 300) -> Callable[[Client], Any]:
    return lambda client: client.create_record(ZONE, name, type, list(data), ttl=ttl)


STEPS = (
    Step(
        "create the zone",
        lambda client: client.create_zone(ZONE, email=f"hostmaster@{ZONE.rstrip('.')}", ttl=3600),
        [Question(ZONE, "NS", ("ns1.dnsworker.internal.",))],
    ),
    Step(
        "add an A RRset of two values",
        _put("www", "A", "192.0.2.1", "192.0.2.2"),
        [Question(f"www.{ZONE}", "A", ("192.0.2.1", "192.0.2.2"))],
    ),
    Step("add AAAA", _put("www", "AAAA", "2001:db8::1"), [Question(f"www.{ZONE}", "AAAA", ("2001:db8::1",))]),
    Step(
        "add MX at the apex", _put("@", "MX", f"10 mail.{ZONE}"), [Question(ZONE, "MX", (f"10 mail.{ZONE}",))]
    ),
    Step(
        "add TXT (SPF)",
        _put("@", "TXT", '"v=spf1 mx -all"'),
        [Question(ZONE, "TXT", ('"v=spf1 mx -all"',))],
    ),
    Step(
        "add SRV",
        _put("_sip._tcp", "SRV", f"0 5 5060 sip.{ZONE}"),
        [Question(f"_sip._tcp.{ZONE}", "SRV", (f"0 5 5060 sip.{ZONE}",))],
    ),
    Step(
        "add CAA",
        _put("@", "CAA", '0 issue "ca.example"'),
        [Question(ZONE, "CAA", ('0 issue "ca.example"',))],
    ),
    Step(
        "add CNAME",
        _put("blog", "CNAME", f"www.{ZONE}"),
        [Question(f"blog.{ZONE}", "CNAME", (f"www.{ZONE}",))],
    ),
    Step(
        "add a wildcard",
        _put("*", "A", "192.0.2.99"),
        [Question(f"anything.{ZONE}", "A", ("192.0.2.99",)), Question(f"anything.{ZONE}", "MX")],
    ),
    Step(
        "change three RRsets, all or nothing",
        lambda client: client.change_zone(
            ZONE,
            [
                Change.update("www", "A", ["192.0.2.3"], ttl=60),
                Change.create("mail", "A", ["192.0.2.25"]),
                Change.delete("@", "CAA"),
            ],
        ),
        [
            Question(f"www.{ZONE}", "A", ("192.0.2.3",)),
            Question(f"mail.{ZONE}", "A", ("192.0.2.25",)),
            Question(ZONE, "CAA"),
        ],
    ),
    Step(
        "refuse what exists already",
        _put("www", "A", "203.0.113.1"),
        [Question(f"www.{ZONE}", "A", ("192.0.2.3",))],
        refused_with="RecordExists",
    ),
    Step(
        "delete a CNAME: now the wildcard answers",
        lambda client: client.delete_record(ZONE, "blog", "CNAME"),
        [Question(f"blog.{ZONE}", "A", ("192.0.2.99",))],
    ),
    Step(
        "delete the wildcard",
        lambda client: client.delete_record(ZONE, "*", "A"),
        [Question(f"anything.{ZONE}", "A", rcode="NXDOMAIN")],
    ),
    Step(
        "delete the zone",
        lambda client: client.delete_zone(ZONE, force=True),
        [Question(ZONE, "SOA", rcode="REFUSED")],
    ),
)


def run(*, as_json: bool) -> bool:
    """Take the tour; returns whether every answer was right. Leaves nothing running and no file."""
    begun = time.monotonic()
    results: list[dict[str, Any]] = []
    with _system(quiet=as_json) as (client, host, port):
        for number, step in enumerate(STEPS, start=1):
            result = _take(client, step, host, port)
            results.append(result)
            if not as_json:
                _print_step(number, result)
    ok = all(result["ok"] for result in results)
    wrong = sum(not result["ok"] for result in results)
    took = output.duration(time.monotonic() - begun)
    if as_json:
        output.print_json({"ok": ok, "steps": results})
    elif ok:
        output.say(f"\nAll {len(STEPS)} steps done, every answer was right ({took}, start included).")
        output.say("Next: `dnsworker up`, or docs/ for RabbitMQ, PostgreSQL and your own nameservers.")
    else:
        output.say(f"\n{wrong} of {len(STEPS)} steps went wrong ({took}).", err=True)
    return ok


def _take(client: Client, step: Step, host: str, port: int) -> dict[str, Any]:
    """One step, with the time that it took until `ACTIVE`, and its answers."""
    begun = time.monotonic()
    status, serial, message = "ERROR", None, ""
    try:
        outcome = step.act(client).wait(timeout=WAIT_S)
        status, serial = str(outcome.status), outcome.serial
        ok = step.refused_with is None
    except OperationFailed as exc:
        ok, message = exc.error_code == step.refused_with, f"{exc.error_code}: {exc.message}"
    except DNSWorkerError as exc:
        ok, message = False, f"{exc.code}: {exc.message}"
    elapsed_s = time.monotonic() - begun
    answers = [_ask(question, host, port) for question in step.questions]
    return {
        "title": step.title, "ok": ok and all(answer["ok"] for answer in answers), "status": status,
        "serial": serial, "message": message, "elapsed_s": round(elapsed_s, 4), "answers": answers,
    }  # fmt: skip


def _ask(question: Question, host: str, port: int) -> dict[str, Any]:
    begun = time.monotonic()
    query = dns.message.make_query(question.name, question.type)
    query.flags &= ~dns.flags.RD
    try:
        answer, _ = dns.query.udp_with_fallback(query, host, timeout=QUERY_TIMEOUT_S, port=port)
    except (dns.exception.DNSException, OSError) as exc:
        return {"question": f"{question.name} {question.type}", "ok": False, "said": str(exc) or "no answer"}
    wanted_type = dns.rdatatype.from_text(question.type)
    data = sorted(
        rdata.to_text() for rrset in answer.answer if rrset.rdtype == wanted_type for rdata in rrset
    )
    rcode = dns.rcode.to_text(answer.rcode())
    return {
        "question": f"{question.name} {question.type}",
        "ok": rcode == question.rcode and data == sorted(question.data),
        "said": ", ".join(data) or (rcode if rcode != "NOERROR" else "no such data"),
        "elapsed_s": round(time.monotonic() - begun, 5),
    }


def _print_step(number: int, result: dict[str, Any]) -> None:
    mark = output.status_word("ok" if result["ok"] else "failed")
    serial = f" (serial {result['serial']})" if result["serial"] is not None else ""
    what = result["message"] or f"{output.status_word(result['status'])}{serial}"
    output.say(f"{number:2}. {mark}  {result['title']}: {what}, {output.duration(result['elapsed_s'])}")
    for answer in result["answers"]:
        sign = "=>" if answer["ok"] else "WRONG =>"
        output.say(f"        {answer['question']} {sign} {answer['said']}")


@contextmanager
def _system(*, quiet: bool) -> Iterator[tuple[Client, str, int]]:
    """A `dnsworker up` of our own; gives a client and where its nameserver listens."""
    with tempfile.TemporaryDirectory(prefix="dnsworker-demo-", ignore_cleanup_errors=True) as directory:
        log = Path(directory, "up.log")
        environment = {key: value for key, value in os.environ.items() if not key.startswith("DNSWORKER_")}
        environment |= {"DNSWORKER_DATA_DIR": directory, "DNSWORKER_NAMESERVER_HOST": "127.0.0.1"}
        begun = time.monotonic()
        with log.open("wb") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", "dnsworker", "up", "--port", "0", "--json"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment,
                start_new_session=True,  # our Ctrl-C is not its: we stop it ourselves, in order
            )
        try:
            ready = _ready(process, log)
            if not quiet:
                took = output.duration(time.monotonic() - begun)
                where = f"{directory}, its nameserver on port {ready['port']}"
                output.say(f"A dnsworker of its own runs in {where} ({took}).\n")
            with Client(database=f"sqlite:///{directory}/dnsworker.db") as client:
                yield client, str(ready["host"]), int(ready["port"])
        finally:
            _stop(process)


def _ready(process: subprocess.Popen[bytes], log: Path) -> dict[str, Any]:
    """What `up --json` says when it is ready. Raises `ConfigError` with what it said instead."""
    lines: list[bytes] = []
    assert process.stdout is not None
    reader = threading.Thread(target=lambda: lines.append(process.stdout.readline()), daemon=True)  # type: ignore[union-attr]
    reader.start()
    reader.join(START_TIMEOUT_S)
    try:
        found = json.loads(lines[0])
    except (IndexError, json.JSONDecodeError) as exc:
        said = log.read_text(errors="replace").strip().splitlines()
        raise ConfigError(f"`dnsworker up` did not start: {said[-1] if said else 'it said nothing'}") from exc
    assert isinstance(found, dict)
    return found


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # its own session: the whole group is ours
        process.wait(STOP_TIMEOUT_S)
    if process.stdout is not None:
        process.stdout.close()
