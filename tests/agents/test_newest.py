"""The last lines of many containers: which they are, and how many are in memory for them."""

from __future__ import annotations

import asyncio
import gc
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest

from agents.newest import SLACK, Newest, few_at_once
from agents.runtime.base import RawLine, RuntimeBusy
from agents.streams import READ_AT_ONCE, ContainerStreams, LogLine
from agents.view import EngineState, ObservedContainer
from domain.errors import Conflict
from tests.fakes.runtime import FakeRuntime


@dataclass(frozen=True)
class Said:
    container_id: UUID
    timestamp: str
    number: int


def written(containers: int, lines: int, seed: int) -> dict[UUID, list[Said]]:
    """What containers wrote, each in its order, with equal times among them; every fourth is silent for long."""
    chance = random.Random(seed)
    out: dict[UUID, list[Said]] = {}
    for index in range(containers):
        key, span = uuid4(), 5 if index % 4 == 0 else 1000
        times = sorted(chance.randrange(span) for _ in range(chance.randrange(1, lines)))
        out[key] = [Said(key, f"{time:09}", number) for number, time in enumerate(times)]
    return out


@pytest.mark.parametrize("tail", [1, 7, 300, 5000])
def test_the_newest_of_all_and_the_last_of_each(tail: int) -> None:
    said = written(40, 300, tail)
    newest = Newest[Said](tail)
    for lines in said.values():
        for at in range(0, len(lines), 50):
            newest.add(lines[at : at + 50])
    found = newest.lines()
    everything = sorted((each for lines in said.values() for each in lines), key=lambda each: each.timestamp)
    assert [each.timestamp for each in found[-tail:]] == [each.timestamp for each in everything[-tail:]]
    assert found == sorted(found, key=lambda each: each.timestamp)
    assert {each.container_id: each.timestamp for each in found} == {
        key: lines[-1].timestamp for key, lines in said.items()
    }
    assert len(found) <= tail + len(said)
    for key, lines in said.items():
        own = [each for each in found if each.container_id == key]
        assert own == lines[-len(own) :], "an end of it without a hole, in its order"


def test_none_wanted() -> None:
    newest = Newest[Said](0)
    assert newest.lines() == []
    (lines,) = written(1, 5000, 1).values()
    newest.add(lines)
    assert newest.lines() == lines[-1:]


async def test_few_are_done_at_once_and_a_failure_ends_the_others() -> None:
    at_work, most, done = 0, 0, list[int]()

    async def work(item: int) -> None:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        try:
            await asyncio.sleep(0.001)
            if item == 50:
                raise RuntimeBusy("no more")
            done.append(item)
        finally:
            at_work -= 1

    await few_at_once(4, work, range(40))
    assert (sorted(done), most) == (list(range(40)), 4)
    with pytest.raises(RuntimeBusy):
        await few_at_once(4, work, range(45, 1000))
    assert at_work == 0
    assert max(done) < 60


class Chatty(FakeRuntime):
    """An engine whose containers have said much; the quiet one a line, long ago."""

    def __init__(self, quiet: str) -> None:
        super().__init__()
        self.quiet = quiet
        self.asked = self.most_asked = self.most_lines = 0

    async def logs(self, engine_id: str, *, tail: int, since: float | None = None) -> Sequence[RawLine]:
        self._reach("logs")
        self.asked += 1
        self.most_asked = max(self.most_asked, self.asked)
        try:
            await asyncio.sleep(0.001)
            stamps = [0] if engine_id == self.quiet else range(1, tail + 1)
            told = [RawLine(stream="stdout", timestamp=_stamp(each), text=f"{engine_id} {each}") for each in stamps]
            if len(self.calls) % 10 == 0:
                self.most_lines = max(self.most_lines, lines_in_memory())
            return told
        finally:
            self.asked -= 1


def _stamp(number: int) -> str:
    return f"2026-01-01T00:00:00.{number:09}Z"


def lines_in_memory() -> int:
    return sum(type(each) in {RawLine, LogLine} for each in gc.get_objects())


async def test_a_node_with_many_containers_holds_about_the_lines_that_are_wanted() -> None:
    keys = [uuid4() for _ in range(50)]
    engine = Chatty(str(keys[0]))
    streams = ContainerStreams(engine)
    started = datetime(2026, 1, 1, tzinfo=UTC)
    here = [
        ObservedContainer(
            container_id=key, engine_id=str(key), name="x", digest="d", state=EngineState.RUNNING, started_at=started
        )
        for key in keys
    ]
    streams.seen(here, {key: str(key) for key in keys}, unknown=(), expected=keys)
    before, tail = lines_in_memory(), 1000
    found = await streams.logs(keys, tail)
    assert engine.most_asked == READ_AT_ONCE
    assert engine.most_lines - before <= (READ_AT_ONCE + 1) * tail + SLACK + len(keys)
    assert [each.timestamp for each in found[-tail:]] == [
        _stamp(number) for number in range(tail - tail // 49, tail + 1) for _ in range(49)
    ][-tail:]
    assert found[0].container_id == keys[0], "who follows it goes on from there"
    assert {each.container_id for each in found} == set(keys)
    engine.away = True
    with pytest.raises(Conflict):
        await streams.logs(keys, tail)
