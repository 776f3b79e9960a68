"""An event loop whose clock goes on only when nothing is left to do now: a minute of waiting takes no time."""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import selectors
from collections.abc import Callable, Coroutine, Generator, Mapping
from typing import Any

from tests.simulation.process import HERE, Killed

DISK_SECONDS = 0.002
"""What the virtual threads take: they write to disks."""


class Deadlock(RuntimeError):
    """Nothing is scheduled any more: whoever waits, waits for ever."""


class _Selector(selectors.BaseSelector):
    """Waits by setting the clock forward. Nothing real is ever ready."""

    def __init__(self) -> None:
        self.time = 0.0
        self._keys: dict[int, selectors.SelectorKey] = {}

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        key = selectors.SelectorKey(fileobj, fileobj if isinstance(fileobj, int) else fileobj.fileno(), events, data)
        self._keys[key.fd] = key
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys.pop(fileobj if isinstance(fileobj, int) else fileobj.fileno())

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise Deadlock("nothing is scheduled")
        self.time += max(0.0, timeout)
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


class VirtualLoop(asyncio.SelectorEventLoop):
    """`disk` may fail a call that a process hands to a thread: it raises OSError, or returns."""

    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)
        self.disk: Callable[[], None] = lambda: None
        _Task.numbers, Event.numbers = itertools.count(), itertools.count()
        self.set_task_factory(_make)

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._virtual.time

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
