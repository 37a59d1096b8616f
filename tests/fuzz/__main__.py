"""`python -m tests.fuzz TARGET [--seconds 600]`: coverage-guided fuzzing; what it finds goes into `corpus/`.

Needs atheris (`pip install atheris`). A finding ends the run with the input, to be made a regression test.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from hashlib import sha256
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["dnsworker", "backends", "dns"]):
    from tests.fuzz import corpora
    from tests.fuzz.targets import TARGETS


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("target", choices=sorted(TARGETS))
    parser.add_argument("--seconds", type=int, default=600)
    asked = parser.parse_args()
    target = TARGETS[asked.target]
    folder = Path(tempfile.mkdtemp(prefix="dnsworker-fuzz-"))
    for octets in corpora.load(asked.target):
        (folder / sha256(octets).hexdigest()).write_bytes(octets)
    print(f"inputs in {folder}", flush=True)

    # libFuzzer ends the process by itself: what it found so far is kept again and again.
    runs = 0

    def run(octets: bytes) -> None:
        nonlocal runs
        runs += 1
        if runs % 20_000 == 0:
            keep()
        target(octets)

    def keep() -> None:
        corpora.save(asked.target, [path.read_bytes() for path in folder.iterdir()])

    limits = [f"-max_total_time={asked.seconds}", "-timeout=60", "-rss_limit_mb=2048", "-max_len=4096"]
    atheris.Setup([sys.argv[0], *limits, f"-artifact_prefix={folder}/found-", str(folder)], run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
