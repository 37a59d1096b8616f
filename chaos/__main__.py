"""Break the system at random while clients work, heal it, and check what it promises: `python -m chaos`.

The same seed breaks the same things in the same order. Exit status: 0 every promise was kept, 1 one wasn't,
2 nothing was tested.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Sequence
from pathlib import Path

from chaos.faults import FAULTS, USUAL
from chaos.plot import svg
from chaos.run import NothingTested, run
from chaos.sabotage import SABOTAGES
from dev.servers import ServerError
from dev.stack import stop_in_order
from dnsworker.errors import DNSWorkerError

LONGEST_S = 24 * 3600.0


def main() -> int:
    options = _options()
    stop_in_order()
    try:
        report, timeline = run(
            options.seed,
            options.duration,
            options.faults or _usual(options.sabotage),
            logs=options.logs,
            sabotage=options.sabotage,
        )
    except (NothingTested, ServerError, DNSWorkerError) as exc:
        print(exc, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    print(report)
    plot = options.plot or Path(f"chaos-{options.seed}.svg")
    plot.write_text(svg(timeline), encoding="utf-8")
    print(f"{'timeline':<12}{plot}")
    return 1 if report.violations else 0


def _usual(sabotage: str | None) -> Sequence[str]:
    return USUAL if sabotage is None else SABOTAGES[sabotage].faults


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
        metavar="A,B",
        help=f"of {', '.join(FAULTS)} (all but restore, nap and late)",
    )
    parser.add_argument(
        "--sabotage",
        choices=SABOTAGES,
        metavar="NAME",
        help=f"take a mechanism out of the workers, of {', '.join(SABOTAGES)} (then the faults that need it)",
    )
    parser.add_argument(
        "--plot", type=_file, metavar="FILE", help="where the timeline is drawn (chaos-SEED.svg)"
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


def _file(text: str) -> Path:
    path = Path(text)
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"{str(path.parent)!r} is not a folder")
    return path


def _folder(text: str) -> Path:
    path = Path(text)
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is not a folder")
    return path


if __name__ == "__main__":
    sys.exit(main())
