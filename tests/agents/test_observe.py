"""Questions to the engine that have no answer in time."""

from __future__ import annotations

import asyncio
import gc
import random
from datetime import UTC, datetime
from typing import Any

import pytest

from agents.observe import Observer
from agents.runtime.base import Json
from agents.runtime.create_args import create_body
from agents.view import EngineState
from tests.agents.build import CLUSTER, assigned
from tests.fakes.runtime import FakeRuntime
from tests.simulation.engine import Engine
from tests.simulation.loop import VirtualLoop
from tests.simulation.process import Process
from tests.simulation.runtime import LOOK_SECONDS, Cuts, ModelRuntime

A = assigned(1)


class _Nobody:
    def changed(self, *_: object) -> None:
        """Nothing to do."""

    def touched(self, *_: object) -> None:
        """Nothing to do."""


async def _from(_reference: str) -> dict[str, Any] | None:
    return None


async def _a_container_that_goes_while_it_does_not_answer() -> list[frozenset[object]]:
    engine = Engine("model", random.Random(1), lambda: datetime.now(UTC), _Nobody(), live_restore=False)
    image = create_body(CLUSTER, A)["Image"]
    engine.images[image] = {"Id": image}
    runtime = ModelRuntime(engine, Process("agent"), Cuts(), _from)
    engine_id = await runtime.create(CLUSTER, A, None)
    await runtime.start(engine_id)
    engine.freeze(engine.boxes[engine_id])
    observer = Observer(runtime, lambda: None)
    views = [await observer.look(CLUSTER, ())]
    await asyncio.sleep(LOOK_SECONDS)  # the question fails, and nobody waits for it
    engine.boxes.clear()
    views.append(await observer.look(CLUSTER, ()))
    return [each.unknown for each in views]


class _Slow(FakeRuntime):
    """An engine whose answers about a container are on their way until `answers` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = asyncio.Event()
        self.add_image("tutela/web:latest", "sha256:web")

    async def inspect(self, engine_id: str) -> Json:
        """What it was when it was asked for."""
        found = await super().inspect(engine_id)
        await self.answers.wait()
        return found


async def _an_answer_that_comes_late(*, ran: bool, told: bool) -> list[EngineState | None]:
    """What each look says of a container whose inspection takes longer than a look: None where nothing is known. `ran`:
    it ran meanwhile; `told`: there was an event of that. The looks end when nobody is to look again."""
    runtime = _Slow()
    for each in A.networks:
        await runtime.create_network(CLUSTER, each.network)
    engine_id = await runtime.create(CLUSTER, A, None)
    if told:
        await runtime.start(engine_id)
        runtime.crash(engine_id)
    again = asyncio.Event()
    observer = Observer(runtime, again.set)
    seen: list[EngineState | None] = []

    async def look() -> None:
        again.clear()
        (found,) = (await observer.look(CLUSTER, ())).containers or (None,)
        seen.append(found.state if found is not None else None)
        await asyncio.sleep(0.01)

    await look()
    if ran:
        await runtime.start(engine_id)
        runtime.crash(engine_id)
        if told:
            observer.changed([engine_id])
    # While the next look is under way, which waits for it and has its list already.
    asyncio.get_running_loop().call_later(0.1, runtime.answers.set)
    await look()
    while again.is_set():
        await look()
    return seen


@pytest.mark.parametrize(
    ("ran", "told", "wanted"),
    [
        (False, False, [None, EngineState.CREATED, EngineState.CREATED]),
        (True, False, [None, None, EngineState.EXITED]),
        (True, True, [None, None, EngineState.EXITED]),
    ],
)
def test_an_answer_that_comes_late_counts_where_nothing_happened_since(
    ran: bool, told: bool, wanted: list[EngineState | None]
) -> None:
    """Found by the simulator (seed 23342): a job that had run to its end meanwhile was started again."""
    loop = VirtualLoop()
    try:
        assert loop.run_until_complete(_an_answer_that_comes_late(ran=ran, told=told)) == wanted
    finally:
        loop.close()


def test_a_question_that_fails_when_its_container_is_gone_is_nobodys_error() -> None:
    """F17: until then it is not known what the container is, which is no proof that it is not there."""
    loop, complaints = VirtualLoop(), list[object]()
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    try:
        assert loop.run_until_complete(_a_container_that_goes_while_it_does_not_answer()) == [
            frozenset({A.container_id}), frozenset()
        ]  # fmt: skip
        gc.collect()
        assert complaints == []
    finally:
        loop.close()
