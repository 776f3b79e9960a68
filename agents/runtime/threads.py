"""Blocking calls to the engine under asyncio: the only place that starts threads for short calls.

Not the loop's default pool: streams and other code could starve it (ECOSYSTEM rule 4). Slow calls have a pool
of their own, so that ten stops in their grace period hold up nobody's start; and so have looks, so that starts that
hang (a volume that does not answer, a swarm without a quorum) blind nobody for the rest of the node (I14).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from agents.runtime.base import RuntimeBusy
from agents.runtime.errors import translate

P = ParamSpec("P")
T = TypeVar("T")
SHORT_THREADS = 8
LOOK_THREADS = 12
SLOW_THREADS = 64


class Calls:
    """The thread pools of one engine."""

    def __init__(self) -> None:
        self._short = ThreadPoolExecutor(SHORT_THREADS, "engine")
        self._look = ThreadPoolExecutor(LOOK_THREADS, "engine-look")
        self._slow = ThreadPoolExecutor(SLOW_THREADS, "engine-slow")

    async def short(self, doing: str, deadline: float, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `call` in a thread and wait for it up to `deadline` seconds. Raises RuntimeBusy, RuntimeRefused.

        After the deadline the thread goes on; the RuntimeBusy then carries its future, since only its end
        says that the call is no longer under way (E7).
        """
        return await self._run(self._short, doing, deadline, lambda: call(*args, **kwargs))

    async def look(self, doing: str, deadline: float, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """As `short`, for calls that change nothing."""
        return await self._run(self._look, doing, deadline, lambda: call(*args, **kwargs))

    async def slow(self, doing: str, deadline: float, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """As `short`, for calls that may take long by their nature."""
        return await self._run(self._slow, doing, deadline, lambda: call(*args, **kwargs))

    async def _run(self, pool: ThreadPoolExecutor, doing: str, deadline: float, call: Callable[[], T]) -> T:
        future = asyncio.get_running_loop().run_in_executor(pool, call)
        try:
            done, _ = await asyncio.wait({future}, timeout=deadline)
        except asyncio.CancelledError:
            future.add_done_callback(_retrieve)
            raise
        if not done:
            future.add_done_callback(_retrieve)
            raise RuntimeBusy(f"the engine did not answer within {deadline:g} s while {doing}", pending=future)
        try:
            return future.result()
        except Exception as error:
            raise translate(error, doing) from error

    def close(self) -> None:
        """Take no more calls; those under way end by their own timeouts."""
        for pool in (self._short, self._look, self._slow):
            pool.shutdown(wait=False, cancel_futures=True)


def _retrieve(future: asyncio.Future[T]) -> None:
    """Look at the outcome of a call nobody waits for, or asyncio complains about it."""
    if not future.cancelled():
        future.exception()
