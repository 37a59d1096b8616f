"""The same client for asyncio: each call runs in a thread of a small pool of its own.

Own threads, because a `wait()` of half a minute would starve the event loop's default executor.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from dnsworker.client.client import Client
from dnsworker.client.operation import Operation
from dnsworker.operations import Outcome, Status

P = ParamSpec("P")
R = TypeVar("R")

#: So many calls, `wait()` included, go on at the same time; others queue.
THREADS = 64


class AsyncOperation:
    """An `Operation` whose methods are awaited."""

    def __init__(self, operation: Operation, executor: ThreadPoolExecutor) -> None:
        self._operation, self._executor = operation, executor
        self.id, self.preview = operation.id, operation.preview

    async def status(self) -> Status:
        return await _in_thread(self._executor, self._operation.status)

    async def outcome(self) -> Outcome:
        return await _in_thread(self._executor, self._operation.outcome)

    async def wait(self, timeout: float = 30.0) -> Outcome:
        return await _in_thread(self._executor, self._operation.wait, timeout)

    def __repr__(self) -> str:
        return f"<Async{self._operation!r}".replace("<Async<", "<Async")


async def _in_thread(executor: ThreadPoolExecutor, call: Callable[..., R], *args: Any, **kwargs: Any) -> R:
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(executor, functools.partial(call, *args, **kwargs))


def _submitting(
    method: Callable[Concatenate[Client, P], Operation],
) -> Callable[Concatenate[AsyncClient, P], Awaitable[AsyncOperation]]:
    @functools.wraps(method)
    async def submit(self: AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> AsyncOperation:
        operation = await _in_thread(self._executor, method, self._client, *args, **kwargs)
        return AsyncOperation(operation, self._executor)

    return submit


def _asking(
    method: Callable[Concatenate[Client, P], R],
) -> Callable[Concatenate[AsyncClient, P], Awaitable[R]]:
    @functools.wraps(method)
    async def ask(self: AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return await _in_thread(self._executor, method, self._client, *args, **kwargs)

    return ask


class AsyncClient:
    """`Client` with awaitable methods: the same names, arguments and errors."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Takes what `Client` takes, `connection` excepted: a transaction belongs to one thread."""
        if kwargs.get("connection") is not None:
            raise TypeError("AsyncClient can't join a caller's transaction; use Client(connection=…)")
        self._client = Client(*args, **kwargs)
        self._executor = ThreadPoolExecutor(THREADS, thread_name_prefix="dnsworker-client")

    create_zone = _submitting(Client.create_zone)
    update_zone = _submitting(Client.update_zone)
    delete_zone = _submitting(Client.delete_zone)
    create_record = _submitting(Client.create_record)
    update_record = _submitting(Client.update_record)
    put_record = _submitting(Client.put_record)
    delete_record = _submitting(Client.delete_record)
    change_zone = _submitting(Client.change_zone)
    import_zone = _submitting(Client.import_zone)
    restore_zone = _submitting(Client.restore_zone)
    move_zone = _submitting(Client.move_zone)

    show_zone = _asking(Client.show_zone)
    list_records = _asking(Client.list_records)
    export_zone = _asking(Client.export_zone)
    show_history = _asking(Client.show_history)
    show_operation = _asking(Client.show_operation)

    def operation(self, operation_id: str) -> AsyncOperation:
        """A handle on an operation that was submitted before, by whomever."""
        return AsyncOperation(self._client.operation(operation_id), self._executor)

    async def close(self) -> None:
        """Close all connections, after the calls that are running."""
        await asyncio.to_thread(self._executor.shutdown, wait=True, cancel_futures=True)
        await asyncio.to_thread(self._client.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<Async{self._client!r}".replace("<Async<", "<Async")
