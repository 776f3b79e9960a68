"""An event loop whose clock goes on only when nothing is left to do now: a minute of waiting takes no time."""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import itertools
import selectors
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Mapping
from typing import Any, TypeVarTuple

from tests.simulation.process import HERE, Killed

_Ts = TypeVarTuple("_Ts")
DISK_SECONDS = 0.002
"""What the virtual threads take: they write to disks."""


class Deadlock(RuntimeError):
    """Nothing is scheduled any more: whoever waits, waits for ever."""


class _Selector(selectors.BaseSelector):
    """Nothing real is ever ready."""

    def __init__(self) -> None:
        self._keys: dict[int, selectors.SelectorKey] = {}

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        key = selectors.SelectorKey(fileobj, fileobj if isinstance(fileobj, int) else fileobj.fileno(), events, data)
        self._keys[key.fd] = key
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys.pop(fileobj if isinstance(fileobj, int) else fileobj.fileno())

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return []

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._keys


class _Task(asyncio.Task[Any]):
    """Its hash is a number and no address: sets of tasks have the same order in each run."""

    numbers = itertools.count()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._number = next(self.numbers)
        super().__init__(*args, **kwargs)

    def __hash__(self) -> int:
        return self._number

    def __eq__(self, other: object) -> bool:
        return self is other


class Event(asyncio.Event):
    """Its hash is a number as well: listeners keep sets of them."""

    numbers = itertools.count()

    def __init__(self) -> None:
        self._number = next(self.numbers)
        super().__init__()

    def __hash__(self) -> int:
        return self._number

    def __eq__(self, other: object) -> bool:
        return self is other


def _make(
    loop: asyncio.AbstractEventLoop,
    coro: Coroutine[Any, Any, Any] | Generator[Any, None, Any],
    context: contextvars.Context | None = None,
) -> asyncio.Task[Any]:
    task = _Task(coro, loop=loop, context=context)
    process = context.get(HERE) if context is not None else HERE.get()
    if process is not None:
        process.owns(task)
    return task


class _Nap:
    """The end of a sleep, in the place of a timer's handle: most of what a seed waits for are sleeps."""

    __slots__ = ("_future",)

    def __init__(self, future: asyncio.Future[None]) -> None:
        self._future = future

    def cancelled(self) -> bool:
        return self._future.done()

    def _run(self) -> None:
        self._future.set_result(None)


_yield = asyncio.sleep


async def sleep(delay: float) -> None:
    """As `asyncio.sleep`, for a fraction of its work; in its place while a seed lives."""
    if delay <= 0:
        await _yield(0)
        return
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    await loop.nap(delay)


class VirtualLoop(asyncio.SelectorEventLoop):
    """`disk` may fail a call that a process hands to a thread: it raises OSError, or returns.

    What the base class does for files, threads and debugging is left out here: a seed has 6,000 callbacks.
    """

    _ready: deque[asyncio.Handle | _Nap]
    _stopping: bool

    def __init__(self) -> None:
        self._now = 0.0
        self._timers: list[tuple[float, int, asyncio.TimerHandle | _Nap]] = []
        self._numbers = itertools.count()
        super().__init__(_Selector())
        self.disk: Callable[[], None] = lambda: None
        _Task.numbers, Event.numbers = itertools.count(), itertools.count()
        self.set_task_factory(_make)

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._now

    def call_soon(
        self, callback: Callable[[*_Ts], object], *args: *_Ts, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        """As the base's."""
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_later(
        self, delay: float, callback: Callable[[*_Ts], object], *args: *_Ts, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        """As the base's."""
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[*_Ts], object], *args: *_Ts, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        """As the base's; of several at one time the one that was asked for first comes first."""
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self._numbers), handle))
        return handle

    def nap(self, delay: float) -> asyncio.Future[None]:
        """Done after that time."""
        future: asyncio.Future[None] = self.create_future()
        heapq.heappush(self._timers, (self._now + delay, next(self._numbers), _Nap(future)))
        return future

    def _run_once(self) -> None:
        """What is ready and what is due now; when there is neither, time goes on to the next timer."""
        ready, timers = self._ready, self._timers
        while timers and timers[0][2].cancelled():
            heapq.heappop(timers)
        if not ready and not self._stopping:
            if not timers:
                raise Deadlock("nothing is scheduled")
            self._now = max(self._now, timers[0][0])
        while timers and timers[0][0] <= self._now:
            ready.append(heapq.heappop(timers)[2])
        for _ in range(len(ready)):
            handle = ready.popleft()
            if not handle.cancelled():
                handle._run()

    def run_in_executor(self, executor: object, func: Callable[..., Any], *args: Any) -> Any:  # type: ignore[override]
        """Done a moment later, at once and as a whole; not if its process is dead by then."""
        future = self.create_future()
        process = HERE.get()

        def work() -> None:
            if process is not None and not process.alive:
                if not future.done():
                    future.set_exception(Killed())
                    future.exception()
                return
            try:
                self.disk()
                result = func(*args)
            except OSError as error:
                if not future.done():
                    future.set_exception(error)
            else:
                if not future.done():
                    future.set_result(result)

        self.call_later(DISK_SECONDS, work)
        return future
