"""What the agent's streams make of an engine's answers; on the fake engine, whose clock and cuts are ours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from agents.runtime.base import RawLine, RuntimeBusy
from agents.streams import ContainerStreams, LogLine
from agents.view import EngineState, ObservedContainer
from domain.errors import Conflict, NotAllowed
from tests.fakes.runtime import FakeRuntime

ONE = uuid4()


class Told(FakeRuntime):
    """An engine that answers each call of `follow` with the next of these."""

    def __init__(self, *answers: Sequence[RawLine] | RuntimeBusy) -> None:
        super().__init__()
        self.answers = list(answers)
        self.asked: list[tuple[str, str | None]] = []

    async def follow(self, engine_id: str, *, since: str | None = None) -> AsyncGenerator[Sequence[RawLine], None]:
        self.asked.append((engine_id, since))
        answer = self.answers.pop(0)
        if isinstance(answer, RuntimeBusy):
            raise answer
        for line in answer:
            yield [line]


def at(second: int, text: str, stream: str = "stdout") -> RawLine:
    return RawLine(stream=stream, timestamp=f"2026-01-01T00:00:{second:02}.000000000Z", text=text)


def seen(streams: ContainerStreams, engine_id: str | None, *, run: int = 1, expected: bool = True) -> None:
    """A pass has seen the container in this run; None: it is not there."""
    here = []
    if engine_id is not None:
        here.append(
            ObservedContainer(
                container_id=ONE,
                engine_id=engine_id,
                name="web-1",
                digest="d",
                state=EngineState.RUNNING,
                started_at=datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=run),
            )
        )
    where = {each.container_id: each.engine_id for each in here}
    streams.seen(here, where, unknown=(), expected=[ONE] if expected else [])


async def take(lines: AsyncGenerator[Sequence[LogLine], None], count: int) -> list[str]:
    out: list[str] = []
    async with asyncio.timeout(5):
        while len(out) < count:
            out += [line.text for line in await anext(lines)]
    return out


async def test_each_run_and_each_engine_container_is_followed_once() -> None:
    engine = Told([at(1, "a"), at(2, "b")], [at(2, "b"), at(3, "c")], [at(1, "anew")], [])
    streams = ContainerStreams(engine)
    lines = streams.follow(ONE, None)
    waiting = asyncio.ensure_future(take(lines, 2))
    await asyncio.sleep(0.05)
    assert not waiting.done(), "it is not here yet"
    seen(streams, "e1")
    assert await waiting == ["a", "b"]
    more = asyncio.ensure_future(take(lines, 1))
    await asyncio.sleep(0.05)
    seen(streams, "e1", run=2)
    assert await more == ["c"]
    more = asyncio.ensure_future(take(lines, 1))
    seen(streams, None)
    await asyncio.sleep(0.05)
    seen(streams, "e2")
    assert await more == ["anew"]
    ending = asyncio.ensure_future(anext(lines, None))
    await asyncio.sleep(0.05)
    seen(streams, None, expected=False)
    assert await asyncio.wait_for(ending, 5) is None
    assert engine.asked == [("e1", None), ("e1", at(2, "").timestamp), ("e2", None)]


async def test_a_cut_is_mended_and_repeated_lines_are_left_out() -> None:
    engine = Told(
        [at(1, "a")],
        RuntimeBusy("cut"),
        [at(1, "a"), at(2, "b"), at(3, "bad", "stderr"), at(2, "b"), at(3, "c"), at(2, "b")],
    )
    streams = ContainerStreams(engine)
    seen(streams, "e1")
    lines = streams.follow(ONE, None)
    assert await take(lines, 1) == ["a"]
    more = asyncio.ensure_future(take(lines, 3))
    await asyncio.sleep(0.05)
    seen(streams, "e1", run=2)
    assert await more == ["b", "bad", "c"]
    await lines.aclose()


async def test_a_clock_that_was_set_back_mutes_nobody() -> None:
    ahead = RawLine(stream="stdout", timestamp="2999-01-01T00:00:00.000000000Z", text="ahead")
    streams = ContainerStreams(Told([ahead, at(1, "right")]))
    seen(streams, "e1")
    lines = streams.follow(ONE, None)
    assert await take(lines, 2) == ["ahead", "right"]
    await lines.aclose()


async def test_failures_are_told_in_the_words_of_the_domain() -> None:
    engine = FakeRuntime()
    streams = ContainerStreams(engine)
    with pytest.raises(NotAllowed):
        await streams.exec(ONE, ["ls"])
    seen(streams, "e1")
    assert await streams.logs([ONE], 10) == [], "it is gone on the engine"
    engine.away = True
    for call in (streams.exec(ONE, ["ls"]), streams.logs([ONE], 10)):
        with pytest.raises(Conflict):
            await call
