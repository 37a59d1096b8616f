"""The whole system on one machine: private servers, workers, beat, web pages. `python -m dev.stack` runs it.

As a library it is what acceptance and chaos tests drive: `with Stack() as stack: stack.worker(0).kill()`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self

from dev import greeting
from dev.commands import run_here
from dev.pool import pool_of, to_yaml
from dev.program import ROOT, Program
from dev.servers import (
    Bind,
    MariaDB,
    PostgreSQL,
    PowerDNS,
    RabbitMQ,
    Redis,
    ServerError,
    SQLite,
    start_all,
)
from dev.servers.folders import make_folder, remove_folder
from dev.servers.ports import ADDRESS, claim_port
from dev.servers.process import tail

#: As in production: deliveries that wait for a slow server must not delay intake.
SPLIT = ("dns.intake,dns.query,dns.sweep", "dns.deliver")
COMMAND_TIMEOUT_S = 60.0
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

Database = PostgreSQL | MariaDB | SQLite
#: What `--database` takes, and DNSWORKER_TEST_DATABASE.
DATABASES: dict[str, type[Database]] = {"postgresql": PostgreSQL, "mariadb": MariaDB, "sqlite": SQLite}

_numbers = itertools.count(1)


class Stack:
    """Servers, workers and beat with one environment. What is passed in is used and left running.

    A given RabbitMQ is shared by a vhost of one's own, a given database server by a database (a copy of
    `template`, which then is expected to be migrated). Not given, it is PostgreSQL.
    """

    def __init__(
        self,
        *,
        workers: int | Sequence[str | None] = SPLIT,
        pool_yaml: str | None = None,
        settings: Mapping[str, str] | None = None,
        bind: Bind | None = None,
        powerdns: PowerDNS | None = None,
        rabbitmq: RabbitMQ | None = None,
        database: Database | None = None,
        redis: Redis | None = None,
        template: str | None = None,
        beat: bool = True,
        flower: bool = False,
        dashboard: bool = False,
        metrics: bool = False,
        worker: str = "dnsworker",
    ) -> None:
        """`workers`: how many that take every queue, or the queues (`-Q`) of each. `settings`: more
        environment (`{"DNSWORKER_RETRY_BASE_S": "0.1"}`). `pool_yaml`: instead of BIND and PowerDNS.
        `metrics`: workers and beat answer for theirs and their health (`metrics_urls`), and an exporter runs.
        `worker`: the module that is run as one.
        """
        self.folder = make_folder("stack")
        given = (bind, powerdns, rabbitmq, database, redis)
        self.bind, self.powerdns = bind or Bind(), powerdns or PowerDNS()
        # Flower asks RabbitMQ's management how long the queues are.
        self.rabbitmq = rabbitmq or RabbitMQ(management=flower)
        self.database = database or PostgreSQL()
        self.redis = redis or Redis()
        every = (self.bind, self.powerdns, self.rabbitmq, self.database, self.redis)
        self.servers = [server for server in every if server not in given]
        self.pool_yaml, self._template = pool_yaml, template
        self.env: dict[str, str] = {"DNSWORKER_DATA_DIR": str(self.folder / "data"), **(settings or {})}
        self._wanted = [None] * workers if isinstance(workers, int) else list(workers)
        self._shares_broker = rabbitmq is not None
        self._shared_name = ""
        self._wants_metrics = metrics
        #: Where each process answers for its metrics and health, by its name.
        self.metrics_urls: dict[str, str] = {}
        self.exporter: Program | None = None
        self.workers: list[Program] = []
        self.beat = self.new_beat() if beat else None
        self.flower: Program | None = None
        self.flower_url = ""
        self.dashboard: Program | None = None
        self.dashboard_url = ""
        self._wants_flower, self._wants_dashboard, self._worker_module = flower, dashboard, worker

    def start(self) -> Self:
        """All of it, up to workers that take messages. Raises `ServerError` with the log of what failed."""
        start_all(*self.servers)
        self._prepare()
        if self._template is None:
            self.run("db", "upgrade")
        self.apply_pool(self.pool_yaml or to_yaml(pool_of({"bind": self.bind, "powerdns": self.powerdns})))
        self.run("queues", "declare")
        programs = [self._new_worker(queues) for queues in self._wanted]
        programs += [self.beat] if self.beat else []
        programs += [self._new_exporter()] if self._wants_metrics else []
        for program in programs:
            program.start(wait=False)
        for program in programs:
            program.wait_ready()
        if self._wants_flower:  # last: it asks the workers who they are
            self._new_flower().start()
            self._have_workers_tell()
        if self._wants_dashboard:  # after Flower, to which it has links
            self._new_dashboard().start()
        return self

    @property
    def postgresql(self) -> PostgreSQL:
        """The database's server, for what only PostgreSQL can do."""
        assert isinstance(self.database, PostgreSQL), f"the stack runs on {type(self.database).__name__}"
        return self.database

    def worker(self, index: int) -> Program:
        return self.workers[index]

    def start_worker(self, queues: str | None = None, *, wait: bool = True) -> Program:
        """One more, for these queues (`-Q`) or for all."""
        return self._new_worker(queues).start(wait=wait)

    def new_beat(self, name: str = "beat") -> Program:
        """One that isn't started yet; whoever starts it stops it."""
        return self._program(name, ("dnsworker", "beat"), "sweeping every")

    def apply_pool(self, pool_yaml: str) -> None:
        """Make this the pools of the system."""
        path = self.folder / "pools.yaml"
        path.write_text(pool_yaml)
        path.chmod(0o600)
        self.env["DNSWORKER_POOLS"] = str(path)
        self.run("pool", "apply")

    def run(self, *arguments: str, check: bool = True) -> str:
        """One `dnsworker` command; what it prints. Raises `ServerError` when it fails and `check` is on."""
        said = run_here(arguments, self.process_env())
        if check and said.code:
            raise ServerError(
                f"dnsworker {' '.join(arguments)}: {said.stderr.strip() or said.stdout.strip()}"
            )
        return said.stdout

    def _spoken(self, *arguments: str) -> str:
        """One command that isn't ours, by its module."""
        done = subprocess.run(
            [sys.executable, "-m", *arguments],
            cwd=ROOT,
            env=self.process_env(),
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        )
        if done.returncode:
            raise ServerError(f"{' '.join(arguments)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def run_json(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "--json"))

    def process_env(self) -> dict[str, str]:
        """Ours, and of this process's environment what isn't about another dnsworker."""
        rest = {name: value for name, value in os.environ.items() if not name.startswith("DNSWORKER_")}
        return {**rest, "PYTHONUNBUFFERED": "1", **self.env}

    def logs(self, lines: int = 40) -> str:
        """The ends of all logs, for the message of a test that failed."""
        return "\n".join(
            f"--- {path.name}\n{tail(path, lines)}" for path in sorted(self.folder.glob("*.log"))
        )

    def close(self) -> None:
        """Stop everything that it has started, remove its folder."""
        programs = [*self.workers, *filter(None, (self.beat, self.flower, self.dashboard, self.exporter))]
        threads = [threading.Thread(target=program.stop, args=(10.0,)) for program in programs]
        threads += [threading.Thread(target=server.close) for server in self.servers]
        # Workers first: they say goodbye to the servers. Then the servers side by side.
        for group in (threads[: len(programs)], threads[len(programs) :]):
            for thread in group:
                thread.start()
            for thread in group:
                thread.join()
        self._leave_shared()
        remove_folder(self.folder)

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and isinstance(error, Exception):
            error.add_note(self.logs())
        self.close()

    def _prepare(self) -> None:
        name = f"stack_{os.getpid()}_{next(_numbers)}"
        self._shared_name = name
        broker = self.rabbitmq.add_vhost(name) if self._shares_broker else self.rabbitmq.amqp_url
        self.env = {
            "DNSWORKER_BROKER_URL": broker,
            "DNSWORKER_RESULT_URL": self.redis.url,
            "DNSWORKER_REDIS_URL": self.redis.url,
            "DNSWORKER_DATABASE_URL": self.database.create_database(name, self._template),
            **self.env,
        }

    def _leave_shared(self) -> None:
        name, self._shared_name = self._shared_name, ""
        if name and self._shares_broker and self.rabbitmq.is_running:
            self.rabbitmq.remove_vhost(name)
        if name and self.database not in self.servers and self.database.is_running:
            self.database.drop_database(name)

    def _program(self, name: str, arguments: Sequence[str], ready: str) -> Program:
        if not self._wants_metrics:
            return Program(name, arguments, ready=ready, folder=self.folder, env=self.process_env)
        port = claim_port()
        self.metrics_urls[name] = f"http://{ADDRESS}:{port}"
        answers = {"DNSWORKER_METRICS_HOST": ADDRESS, "DNSWORKER_METRICS_PORT": str(port)}
        return Program(
            name, arguments, ready=ready, folder=self.folder, env=lambda: {**self.process_env(), **answers}
        )

    def _new_exporter(self) -> Program:
        self.exporter = self._program("exporter", ("dnsworker", "exporter"), "health and metrics at")
        return self.exporter

    def _new_worker(self, queues: str | None) -> Program:
        name = f"worker-{len(self.workers) + 1}"
        arguments = [
            self._worker_module,
            "worker",
            "-n",
            f"{name}@localhost",
            *(("-Q", queues) if queues else ()),
        ]
        self.workers.append(self._program(name, arguments, " ready."))
        return self.workers[-1]

    def _new_flower(self) -> Program:
        port, password = claim_port(), secrets.token_urlsafe(12)
        self.env["FLOWER_BASIC_AUTH"] = f"dnsworker:{password}"
        if self.rabbitmq.has_management:  # in the environment: the list of processes is for everybody
            self.env["FLOWER_BROKER_API"] = self.rabbitmq.api_url
        self.env["DNSWORKER_FLOWER_URL"] = f"http://{ADDRESS}:{port}"
        self.flower_url = f"http://dnsworker:{password}@{ADDRESS}:{port}/"
        options = (f"--address={ADDRESS}", f"--port={port}", f"--db={self.folder / 'flower.db'}")
        arguments = ("celery", "-A", "dnsworker.app", "flower", *options)
        self.flower = self._program("flower", arguments, "Connected to")
        return self.flower

    def _have_workers_tell(self) -> None:
        """Flower asks the workers to tell of tasks when it has run for five seconds: of those before it would
        know nothing."""
        if self.workers:
            self._spoken("celery", "-A", "dnsworker.app", "control", "enable_events")

    def _new_dashboard(self) -> Program:
        port, password = claim_port(), secrets.token_urlsafe(12)
        self.env["DNSWORKER_DASHBOARD_AUTH"] = f"dnsworker:{password}"
        self.env["DNSWORKER_DASHBOARD_PORT"] = str(port)
        self.dashboard_url = f"http://dnsworker:{password}@{ADDRESS}:{port}/"
        self.dashboard = self._program("dashboard", ("dnsworker", "dashboard"), "status page at")
        return self.dashboard


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m dev.stack", description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, metavar="N", help="N workers that take every queue")
    parser.add_argument("--no-flower", action="store_true", help="without its web interface")
    parser.add_argument("--no-dashboard", action="store_true", help="without the status page")
    parser.add_argument("--only-servers", action="store_true", help="no worker, no beat, no web page")
    parser.add_argument("--database", choices=DATABASES, default="postgresql", help="instead of PostgreSQL")
    parser.add_argument("--settings", type=Path, default=ROOT / "build" / "stack.env", metavar="FILE",
                        help="where another terminal finds them, instead of build/stack.env")  # fmt: skip
    options = parser.parse_args()
    stop_in_order()
    name = DATABASES[options.database].__name__
    print(f"starting RabbitMQ, {name}, Redis, BIND, PowerDNS and the workers …", flush=True)
    try:
        with (
            DATABASES[options.database]() as database,
            _wanted_stack(options, database) as stack,
            greeting.settings_at(options.settings, greeting.settings_of(stack)),
        ):
            print(greeting.of(stack, options.settings), flush=True)
            _watch([*stack.workers, *filter(None, (stack.beat, stack.flower, stack.dashboard))])
    except ServerError as exc:
        print(exc, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0
    return 0


def _wanted_stack(options: argparse.Namespace, database: Database) -> Stack:
    if options.only_servers:
        return Stack(workers=(), beat=False, database=database)
    return Stack(
        workers=options.workers or SPLIT,
        flower=not options.no_flower,
        dashboard=not options.no_dashboard,
        database=database,
    )


def stop_in_order() -> None:
    """From now on a signal to stop is a `KeyboardInterrupt`, so that everything started is ended."""
    for number in STOPPING:
        signal.signal(number, _interrupt)


def _interrupt(*_: object) -> None:
    # Once: a second Ctrl-C must not break off the cleaning up.
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)
    print("stopping …", file=sys.stderr, flush=True)
    raise KeyboardInterrupt


def _watch(programs: list[Program]) -> NoReturn:
    """Wait for Ctrl-C; say when one of them ends by itself."""
    while True:
        time.sleep(1.0)
        for program in [program for program in programs if not program.is_running]:
            print(f"{program.name} ended:\n{tail(program.log_path)}", file=sys.stderr, flush=True)
            programs.remove(program)


if __name__ == "__main__":
    sys.exit(main())
