"""The newest of the lines of many containers, in memory for about as many lines as are wanted of all together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Generic, Protocol, TypeVar
from uuid import UUID

SLACK = 1000
"""Lines above what is wanted before the oldest are dropped."""


class Stamped(Protocol):
    """What of a line decides about its place."""

    @property
    def container_id(self) -> UUID: ...
    @property
    def timestamp(self) -> str: ...


L = TypeVar("L", bound=Stamped)
T = TypeVar("T")


class Newest(Generic[L]):
    """Takes lines of any number of containers, each container's in their order; keeps the last `tail` of all.

    And the last one of each container, since whoever follows a container goes on from there.
    """

    def __init__(self, tail: int) -> None:
        self._tail = tail
        self._lines: list[L] = []
        self._last: dict[UUID, L] = {}
        self._floor = ""

    def add(self, lines: Iterable[L]) -> None:
        """Take these too."""
        for each in lines:
            last = self._last.get(each.container_id)
            if last is None or each.timestamp >= last.timestamp:
                self._last[each.container_id] = each
            if each.timestamp >= self._floor:
                self._lines.append(each)
                if len(self._lines) > self._tail + SLACK:
                    self._cut()

    def lines(self) -> list[L]:
        """The last `tail` by time, and before them the last line of each container that has none among them."""
        self._cut()
        shown = {each.container_id for each in self._lines}
        others = (each for key, each in self._last.items() if key not in shown)
        return sorted(others, key=_time) + self._lines

    def _cut(self) -> None:
        self._lines.sort(key=_time)
        surplus = len(self._lines) - self._tail
        if surplus > 0:
            del self._lines[:surplus]
            # With none wanted nothing is a floor: then each cut drops all.
            self._floor = self._lines[0].timestamp if self._lines else self._floor


def _time(line: Stamped) -> str:
    return line.timestamp


async def few_at_once(count: int, work: Callable[[T], Awaitable[None]], items: Iterable[T]) -> None:
    """Do the work for all items, for at most `count` at a time. The first failure is raised and ends the others."""
    waiting = iter(items)

    async def turn() -> None:
        for item in waiting:
            await work(item)

    turns = [asyncio.ensure_future(turn()) for _ in range(count)]
    try:
        await asyncio.gather(*turns)
    finally:
        for each in turns:
            each.cancel()
        await asyncio.gather(*turns, return_exceptions=True)
