"""Break the system at random while clients work, heal it, and check what it promises: `python -m chaos`.

The same seed breaks the same things in the same order. Exit status: 0 every promise was kept, 1 one wasn't,
2 nothing was tested.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from chaos import invariants, restoration
from chaos.faults import FAULTS, USUAL
from chaos.nemesis import Nemesis
from chaos.report import Report
from chaos.system import System, a_system
from chaos.watcher import Watcher
from chaos.workload import Workload
from dev.servers import ServerError
from dev.stack import stop_in_order
from dnsworker.errors import DNSWorkerError

#: From the end of the last fault until nothing is under way.
HEALS_WITHIN_S = 120.0
LONGEST_S = 24 * 3600.0


class NothingTested(Exception):
    """No fault was done, or no change was made."""


def run(seed: int, duration_s: float, names: Sequence[str], logs: Path | None = None) -> Report:
    """One run on a system of its own, whose logs are copied into the folder `logs`.

    Raises `NothingTested`, or `ServerError` when it couldn't be done.
    """
    _say(f"seed {seed}: starting RabbitMQ, PostgreSQL, Redis, the nameservers and the workers …")
    with a_system() as system:
        try:
            return _run(system, seed, duration_s, names)
        finally:
            if logs:
                _keep_logs(system, logs)


def _keep_logs(system: System, folder: Path) -> None:
    for path in system.stack.folder.glob("*.log"):
        shutil.copy(path, folder)
    for name, server in system.servers.items():
        shutil.copy(server.log_path, folder / f"{name}.log")


def _run(system: System, seed: int, duration_s: float, names: Sequence[str]) -> Report:
    workload, nemesis = Workload(system, seed), Nemesis(system, seed, names)
    watcher = Watcher(system)
    workload.start()
    watcher.start()
    nemesis.run(duration_s, _say)
    healing = time.monotonic()
    ended = system.start_what_is_down()
    workload.stop()
    said = []
    if system.restorations:
        invariants.wait_for_standstill(system, HEALS_WITHIN_S)
        system.note_losses()
        said = restoration.settle(system, workload)
    if any(event.fault.needs_touch for event in nemesis.history):
        workload.touch()
    _say("healed; waiting for rest …")
    tested = invariants.Run(system, workload, nemesis, watcher)
    invariants.wait_for_rest(tested, HEALS_WITHIN_S)
    heal_s = time.monotonic() - healing
    watcher.stop()
    workload.close()
    if not nemesis.history or not workload.confirmed:
        raise NothingTested(
            f"{len(nemesis.history)} faults and {len(workload.confirmed)} changes: nothing tested"
        )
    return Report(
        seed=seed,
        faults=Counter(event.fault.name for event in nemesis.history),
        operations=invariants.outcomes(tested),
        repeated=workload.repeated,
        heal_s=heal_s,
        violations=invariants.violations(tested),
        serials=watcher.serials_seen,
        notes=[
            *said,
            *(f"{name} had ended and was started again" for name in ended),
            *(f"{fall}; a writer may have been late" for fall in invariants.pardoned_falls(tested)),
        ],
    )


def main() -> int:
    options = _options()
    stop_in_order()
    try:
        report = run(options.seed, options.duration, options.faults, options.logs)
    except (NothingTested, ServerError, DNSWorkerError) as exc:
        print(exc, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    print(report)
    return 1 if report.violations else 0


def _options() -> argparse.Namespace:
    assert __doc__
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--seed",
        type=_seed,
        default=random.randrange(10**6),
        metavar="N",
        help="of all choices (a random one)",
    )
    parser.add_argument(
        "--duration", type=_seconds, default=120.0, metavar="S", help="seconds of faults (120)"
    )
    parser.add_argument(
        "--faults",
        type=_faults,
        default=USUAL,
        metavar="A,B",
        help=f"of {', '.join(FAULTS)} (all but restore)",
    )
    parser.add_argument("--logs", type=_folder, metavar="FOLDER", help="where all logs are kept")
    return parser.parse_args()


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 1 <= seconds <= LONGEST_S:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 1 to {LONGEST_S:g}")
    return seconds


def _faults(text: str) -> list[str]:
    names = list(dict.fromkeys(text.split(",")))
    for name in names:
        if name not in FAULTS:
            raise argparse.ArgumentTypeError(f"there is no fault {name!r}: there are {', '.join(FAULTS)}")
    return names


def _folder(text: str) -> Path:
    path = Path(text)
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is not a folder")
    return path


def _say(words: str) -> None:
    # With the time, by which it is found again in the programs' logs.
    print(f"{time.strftime('%H:%M:%S')} {words}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
