"""kombu's file-system transport, made safe for a reader that is quicker than the writer.

The original writes a message into a file that is already listed, and a reader that meets it empty stops
with a decoding error (kombu 5.7, 2026-11-23); it also moves each message through the temporary folder,
which may be on another disk. Here a file appears whole, and is claimed by a rename in its own folder.
"""

from __future__ import annotations

import json
import logging
import os
import time
import uuid
from pathlib import Path
from queue import Empty
from typing import Any

from kombu.transport import TRANSPORT_ALIASES, filesystem, virtual

log = logging.getLogger(__name__)

SCHEME = "dnsworker-files"
LONGEST_DRAIN_S = 0.2


class Channel(filesystem.Channel):
    """Messages are files `<time>_<id>.<queue>.msg`; what is being written or read has another ending."""

    def _put(  # type: ignore[override] # the original renames the parameter as well
        self, queue: str, payload: dict[str, Any], **_: Any
    ) -> None:
        folder = Path(self.data_folder_out)
        name = f"{time.monotonic_ns():020}_{uuid.uuid4()}.{queue}"
        written = folder / f"{name}.new"
        written.write_text(json.dumps(payload))
        written.rename(folder / f"{name}.msg")

    def _get(self, queue: str, timeout: float | None = None) -> Any:
        folder = Path(self.data_folder_in)
        for name in sorted(os.listdir(folder)):
            if name.partition(".")[2] != f"{queue}.msg":
                continue
            claimed = folder / f"{name}.{os.getpid()}"
            try:
                (folder / name).rename(claimed)
            except FileNotFoundError:
                continue  # another worker was quicker
            try:
                return json.loads(claimed.read_text())
            except ValueError:
                log.warning("dropped a wake-up that can't be read: %s", name)
            finally:
                claimed.unlink()
        raise Empty


class Transport(filesystem.Transport):
    Channel = Channel

    def __init__(self, client: Any, **options: Any) -> None:
        super().__init__(client, **options)
        # The original remembers the bindings of the whole process, and writes none for a second folder.
        self.state = virtual.BrokerState()

    def drain_events(self, connection: Any, timeout: float | None = None, **options: Any) -> Any:
        # Between two calls a worker looks whether it is to stop; Celery would wait for 2 s in each.
        wait_s = LONGEST_DRAIN_S if timeout is None else min(timeout, LONGEST_DRAIN_S)
        return super().drain_events(connection, timeout=wait_s, **options)


TRANSPORT_ALIASES[SCHEME] = f"{__name__}:Transport"
