"""`python -m chaos.worker worker …`: a worker as it ships, but for what a run has taken out of it."""

from __future__ import annotations

import os

from chaos.sabotage import SABOTAGES
from chaos.system import SABOTAGE
from dnsworker.cli import main

if __name__ == "__main__":
    SABOTAGES[os.environ[SABOTAGE]].apply()
    main(prog_name="dnsworker")
