"""An agent as a process of its own, to be killed: `run_agent URL STATE WANTED SEEN [CALL AFTER]`.

WANTED is a file with the assignment, SEEN one that the reports are appended to. With CALL, the process kills
itself with SIGKILL at its CALL-th change of the engine: before it, or with AFTER 1 right after the engine did it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from agents.agent import Agent
from agents.runtime.docker import DockerRuntime
from domain.assignment import Beat, ContainerAssignment, Heard, NodeAssignments, NodeHello, NodeReport, Registration
from tests.agents.build import CLUSTER, NODE

WANTED = TypeAdapter(tuple[ContainerAssignment, ...])
REPORT = TypeAdapter(NodeReport)
CHANGES = {"create", "start", "stop", "remove", "update_policy", "create_network", "connect"}


class FileChannel:
    """A control plane that wants what a file says."""

    def __init__(self, wanted: Path, seen: Path) -> None:
        self._wanted, self._seen = wanted, seen

    async def register(self, hello: NodeHello) -> Registration:
        return Registration(cluster_id=CLUSTER, node_id=NODE, session=1)

    async def assignments(self, registration: Registration, since: int) -> NodeAssignments:
        if since:
            await asyncio.sleep(3600)
        items = WANTED.validate_json(self._wanted.read_bytes())
        return NodeAssignments(cluster_id=CLUSTER, session=1, base=0, revision=1, containers=items)

    async def report(self, report: NodeReport) -> None:
        with self._seen.open("ab") as file:
            file.write(REPORT.dump_json(report) + b"\n")

    async def beat(self, beat: Beat) -> Heard:
        return Heard()


class Deadly(DockerRuntime):
    """Ends the process at its n-th change."""

    def __init__(self, base_url: str, call: int, after: bool) -> None:
        super().__init__(base_url)
        self._left, self._after = call, after
        for name in CHANGES:
            setattr(self, name, self._counted(getattr(self, name)))

    def _counted(self, method: Callable[..., Any]) -> Callable[..., Any]:
        async def call(*args: Any) -> Any:
            self._left -= 1
            fatal = self._left == 0
            if fatal and not self._after:
                os.kill(os.getpid(), signal.SIGKILL)
            result = await method(*args)
            if fatal:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return call


async def main(url: str, state: str, wanted: str, seen: str, call: str = "0", after: str = "0") -> None:
    runtime = Deadly(url, int(call), after == "1") if int(call) else DockerRuntime(url)
    agent = Agent(name="n1", state_dir=Path(state), runtime=runtime, channel=FileChannel(Path(wanted), Path(seen)))
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await agent.run(stop)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
