"""`python -m chaos.worker worker -n NAME@HOST`: a worker as it ships, but for its clock, which can be
stepped, and for what a run has taken out of it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from chaos.clock import Clock
from chaos.sabotage import SABOTAGES
from chaos.system import CLOCKS, SABOTAGE
from dnsworker.cli import main

if __name__ == "__main__":
    if name := os.environ.get(SABOTAGE):
        SABOTAGES[name].apply()
    worker = sys.argv[sys.argv.index("-n") + 1].partition("@")[0]
    Clock(Path(os.environ[CLOCKS]), worker).install()
    main(prog_name="dnsworker")
