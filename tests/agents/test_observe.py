"""Questions to the engine that have no answer in time."""

from __future__ import annotations

import asyncio
import gc
import random
from datetime import UTC, datetime
from typing import Any

from agents.observe import Observer
from agents.runtime.create_args import create_body
from tests.agents.build import CLUSTER, assigned
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
