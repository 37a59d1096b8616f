"""The sockets of the built-in nameserver: UDP and TCP (RFC 7766) on one port, in a thread of their own.

Everything that a stranger may make it hold is bounded: questions under way, connections, what one connection
asks at once, how long it may be silent or slow to read. What can't be taken is dropped, as a network would.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
import struct
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_network
from types import TracebackType
from typing import Any, Self

from dnsworker.nameserver import questions
from dnsworker.nameserver.query import Query
from dnsworker.nameserver.questions import ZoneSource
from dnsworker.nameserver.response import render_error

log = logging.getLogger(__name__)

LOOPBACK = ("127.0.0.0/8", "::1/128")
SOURCE_THREADS = 4
MAX_UNDER_WAY = 1_000  # questions over UDP; more are dropped, and asked again
MAX_CONNECTIONS = 200
MAX_PIPELINED = 16
MAX_QUERY_OCTETS = 4_096  # one question, EDNS with options and a TSIG take far less
MAX_DATAGRAMS_AT_ONCE = 64
PORT_ATTEMPTS = 20
#: Failures of the source are told at most this often: a database that is away fails every question.
LOG_PAUSE_S = 10.0


class NameServer:
    """Answers for the zones of `source`. `port=0` takes a free one; `port` tells which.

    Whole zones are given to `transfer_to` (networks) only. `start` raises `OSError` when it can't listen.
    """

    def __init__(
        self,
        source: ZoneSource,
        host: str = "127.0.0.1",
        port: int = 5300,
        *,
        transfer_to: Sequence[str] = LOOPBACK,
        idle_timeout_s: float = 10.0,
        max_connections: int = MAX_CONNECTIONS,
    ) -> None:
        self.host, self.port = host, port
        self._source = source
        self._transfer_to = [ip_network(network) for network in transfer_to]
        self._idle_timeout_s = idle_timeout_s
        self._max_connections = max_connections
        self._thread: threading.Thread | None = None
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._under_way = 0
        self._logged_at = float("-inf")

    def start(self) -> Self:
        """Listen, and return when questions are taken."""
        assert self._thread is None, "it is started once"
        udp, tcp = _listen(self.host, self.port)
        self.port = udp.getsockname()[1]
        self._answering = ThreadPoolExecutor(SOURCE_THREADS, thread_name_prefix="nameserver")
        # A transfer reads a whole zone: it must not take the threads that answer questions.
        self._transferring = ThreadPoolExecutor(1, thread_name_prefix="nameserver-axfr")
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._main(udp, tcp)), name="nameserver", daemon=True
        )
        self._thread.start()
        self._ready.wait()
        return self

    def stop(self) -> None:
        """Close everything; does nothing when it isn't running."""
        thread, self._thread = self._thread, None
        if thread is None or self._loop is None or self._stopping is None:
            return
        self._loop.call_soon_threadsafe(self._stopping.set)
        thread.join()
        self._ready.clear()
        for pool in (self._answering, self._transferring):
            pool.shutdown(wait=False, cancel_futures=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    async def _main(self, udp: socket.socket, tcp: socket.socket) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        # Not a transport: that would queue what the kernel doesn't take, without a bound.
        self._loop.add_reader(udp, self._receive, udp)
        server = await asyncio.start_server(self._connected, sock=tcp)
        self._ready.set()
        await self._stopping.wait()
        server.close()
        self._loop.remove_reader(udp)
        udp.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    # --- UDP -------------------------------------------------------------------------------------------

    def _receive(self, udp: socket.socket) -> None:
        """Take what has arrived, some at a time, so that TCP isn't forgotten."""
        for _ in range(MAX_DATAGRAMS_AT_ONCE):
            try:
                octets, asker = udp.recvfrom(MAX_QUERY_OCTETS)
            except BlockingIOError:
                return
            except OSError:
                continue  # an ICMP error for an earlier response: its asker has gone
            query = questions.read(octets)
            if not isinstance(query, Query):
                _send(udp, query, asker)
            elif self._under_way < MAX_UNDER_WAY:
                self._ask(query, asker, udp)

    def _ask(self, query: Query, asker: Any, udp: socket.socket) -> None:
        assert self._loop is not None, "the loop has brought the datagram"

        def answered(future: asyncio.Future[bytes]) -> None:
            self._under_way -= 1
            if not future.cancelled():
                error = future.exception()
                _send(udp, future.result() if error is None else self._failed(error, query), asker)

        self._under_way += 1
        future = self._loop.run_in_executor(self._answering, questions.over_udp, query, self._source)
        future.add_done_callback(answered)

    # --- TCP -------------------------------------------------------------------------------------------

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None, "a coroutine runs in a task"
        if len(self._connections) >= self._max_connections:
            writer.transport.abort()
            return
        self._connections.add(task)
        try:
            await self._converse(reader, writer)
            with contextlib.suppress(OSError):
                writer.close()
        except asyncio.CancelledError:
            writer.transport.abort()  # `stop`: the end of this task as well
        finally:
            self._connections.discard(task)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer until the asker closes or is silent for too long; what was asked by then is answered."""
        gate = asyncio.Semaphore(MAX_PIPELINED)
        async with asyncio.TaskGroup() as answering:
            while True:
                await gate.acquire()
                try:
                    async with asyncio.timeout(self._idle_timeout_s):
                        (size,) = struct.unpack("!H", await reader.readexactly(2))
                        if size > MAX_QUERY_OCTETS:
                            return
                        octets = await reader.readexactly(size)
                except (TimeoutError, OSError, asyncio.IncompleteReadError):
                    return
                answering.create_task(self._respond(octets, writer, gate))

    async def _respond(self, octets: bytes, writer: asyncio.StreamWriter, gate: asyncio.Semaphore) -> None:
        try:
            query = questions.read(octets)
            if isinstance(query, Query):
                await self._answer(query, writer)
            elif query is None:
                writer.transport.abort()  # not DNS
            else:
                await self._write(writer, query)
        except (TimeoutError, OSError):
            writer.transport.abort()  # gone, or too slow to read
        finally:
            gate.release()

    async def _answer(self, query: Query, writer: asyncio.StreamWriter) -> None:
        assert self._loop is not None, "the loop runs this"
        asker = writer.get_extra_info("peername")
        if asker is None:
            return  # gone already
        pool = self._transferring if query.is_transfer else self._answering
        messages = questions.over_tcp(query, self._source, asker[0], self._transfer_to)
        is_first = True
        while True:
            future = self._loop.run_in_executor(pool, next, messages, None)
            await asyncio.wait([future])
            error = future.exception()
            if error is not None:
                response = self._failed(error, query)
                if not is_first:
                    writer.transport.abort()  # half a transfer must not end as if it were whole
                    return
                await self._write(writer, response)
                return
            message = future.result()
            if message is None:
                return
            await self._write(writer, message)
            is_first = False

    async def _write(self, writer: asyncio.StreamWriter, message: bytes) -> None:
        writer.write(struct.pack("!H", len(message)) + message)
        async with asyncio.timeout(self._idle_timeout_s):
            await writer.drain()

    def _failed(self, error: BaseException, query: Query) -> bytes:
        """The response when the source could not be asked."""
        if time.monotonic() - self._logged_at >= LOG_PAUSE_S:
            self._logged_at = time.monotonic()
            first_line = next(iter(str(error).splitlines()), "")
            log.error(
                "can't answer %s %s: %s: %s", query.name, query.type_text, type(error).__name__, first_line
            )
        return render_error(query, "SERVFAIL")


def _send(udp: socket.socket, response: bytes | None, asker: Any) -> None:
    if response is not None and udp.fileno() != -1:
        # What the kernel can't take now is lost, as on any network.
        with contextlib.suppress(OSError):
            udp.sendto(response, asker)


def _listen(host: str, port: int) -> tuple[socket.socket, socket.socket]:
    """A UDP and a listening TCP socket on the same port. Raises `OSError`."""
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    for attempt in range(PORT_ATTEMPTS if port == 0 else 1):
        udp = socket.socket(family, socket.SOCK_DGRAM)
        tcp = socket.socket(family, socket.SOCK_STREAM)
        try:
            udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            # Connections that ended a moment ago don't keep us from listening again.
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            udp.bind(address)
            tcp.bind((address[0], udp.getsockname()[1], *address[2:]))
            tcp.listen(128)
        except OSError as exc:
            udp.close()
            tcp.close()
            if exc.errno != errno.EADDRINUSE or port != 0 or attempt == PORT_ATTEMPTS - 1:
                raise
            continue
        udp.setblocking(False)
        tcp.setblocking(False)
        return udp, tcp
    raise AssertionError("the last attempt returns or raises")
