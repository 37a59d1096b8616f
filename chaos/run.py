"""One run from beginning to end: start the system, break it, let it heal, and judge it.

Separate from the command line, which only says what is to be run.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import sqlalchemy as sa

from chaos import invariants, restoration
from chaos.nemesis import PAIRS, Nemesis
from chaos.plot import Bar, Timeline
from chaos.report import Report
from chaos.system import System, a_system
from chaos.watcher import Watcher
from chaos.workload import Workload
from dnsworker.tables import operation

#: From the end of the last fault until nothing is under way.
HEALS_WITHIN_S = 120.0
#: The same of a sabotaged system, of which much will never be at rest.
TRIED_FOR_S = 40.0


class NothingTested(Exception):
    """No fault was done, or no change was made."""


def run(
    seed: int,
    duration_s: float,
    names: Sequence[str],
    *,
    logs: Path | None = None,
    sabotage: str | None = None,
) -> tuple[Report, Timeline]:
    """One run on a system of its own, whose logs are copied into the folder `logs`.

    Raises `NothingTested`, or `ServerError` when it couldn't be done.
    """
    say(f"seed {seed}: starting RabbitMQ, PostgreSQL, Redis, the nameservers and the workers …")
    with a_system(sabotage) as system:
        try:
            if sabotage is None:
                return _run(system, seed, duration_s, names, PAIRS, HEALS_WITHIN_S)
            return _run(system, seed, duration_s, names, 1.0, TRIED_FOR_S)
        finally:
            if logs:
                _keep_logs(system, logs)


def _keep_logs(system: System, folder: Path) -> None:
    for path in system.stack.folder.glob("*.log"):
        shutil.copy(path, folder)
    for name, server in system.servers.items():
        shutil.copy(server.log_path, folder / f"{name}.log")


def _run(
    system: System, seed: int, duration_s: float, names: Sequence[str], pairs: float, heals_within_s: float
) -> tuple[Report, Timeline]:
    workload, nemesis = Workload(system, seed), Nemesis(system, seed, names, pairs)
    watcher = Watcher(system)
    begun = time.monotonic()
    workload.start()
    watcher.start()
    nemesis.run(duration_s, say)
    healing = time.monotonic()
    ended = system.start_what_is_down()
    workload.stop()
    said = []
    if system.restorations:
        invariants.wait_for_standstill(system, heals_within_s)
        system.note_losses()
        said = restoration.settle(system, workload)
    say("healed; waiting for rest …")
    tested = invariants.Run(system, workload, nemesis, watcher)
    is_at_rest = invariants.comes_to_rest(tested, heals_within_s)
    if late := invariants.replay_without_late_ones(tested):
        said.append(f"{late} operations were on their way for longer than the grace, and overtaken")
    doubtful = {target for event in nemesis.history for target in event.fault.needs_touch}
    violations = [f"untouched: {words}" for words in invariants.delivered(tested, doubtful)]
    if doubtful and is_at_rest:
        workload.touch()
        invariants.comes_to_rest(tested, heals_within_s)
    heal_s = time.monotonic() - healing
    watcher.stop()
    workload.close()
    if not nemesis.history or not workload.confirmed:
        raise NothingTested(
            f"{len(nemesis.history)} faults and {len(workload.confirmed)} changes: nothing tested"
        )
    report = Report(
        seed=seed,
        faults=Counter(event.fault.name for event in nemesis.history),
        operations=invariants.outcomes(tested),
        repeated=workload.repeated,
        heal_s=heal_s,
        violations=[*violations, *invariants.violations(tested)],
        serials=watcher.serials_seen,
        notes=[
            *said,
            *(f"{name} had ended and was started again" for name in ended),
            *(f"{fall}; a writer may have been late" for fall in invariants.pardoned_falls(tested)),
        ],
    )
    return report, _timeline(report, tested, begun, healing)


def _timeline(report: Report, tested: invariants.Run, begun: float, healing: float) -> Timeline:
    """By the monotonic clock, and the database's where that has noted it."""
    to_wall = time.time() - time.monotonic() + begun
    with tested.system.engine.connect() as connection:
        query = sa.select(operation.c.finished_at).where(operation.c.finished_at.is_not(None))
        ended = [moment.timestamp() - to_wall for moment in connection.execute(query).scalars()]
    bars = [
        Bar(one.fault.name, one.fault.part, str(one.fault), one.begun - begun, one.ended - begun)
        for one in tested.nemesis.history
    ]
    count = len(report.violations)
    return Timeline(
        title=f"Seed {report.seed}: {count or 'no'} violation{'' if count == 1 else 's'}",
        subtitle=f"{sum(report.operations.values())} operations, {sum(report.faults.values())} faults",
        submitted=[one.at - begun for one in tested.workload.confirmed],
        ended=ended,
        bars=bars,
        healing=(healing - begun, healing - begun + report.heal_s),
    )


def say(words: str) -> None:
    # With the time, by which it is found again in the programs' logs.
    print(f"{time.strftime('%H:%M:%S')} {words}", file=sys.stderr, flush=True)
