"""A process that is asked to stop ends the commands in its host's containers before its agent lets go of the engine.

The roles as they are, in this process, over an engine that says whether it was still there. That a real one ends the
command then is in test_exec.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import httpx2
import pytest
from websockets.asyncio.client import ClientConnection, connect

from agents import dial
from agents.runtime.base import Console
from app import roles
from app.first_start import KEY_FILE
from app.fleet import dialbacks
from app.settings import Settings
from tests.agents.harness import eventually
from tests.fakes.runtime import FakeConsole, FakeRuntime
from tests.fleet.hosts import SECRET
from tests.harness.claims import free_port
from tests.streams.client import frame, rest

pytestmark = pytest.mark.e2e
IMAGE = "tutela/web:latest"


class Engine(FakeRuntime):
    """Notes which commands it helped to end; those that it has when it is let go of are cut, and run on."""

    def __init__(self) -> None:
        super().__init__()
        self.add_image(IMAGE, "sha256:web")
        self.running: list[Command] = []
        self.ended = 0
        self.closed = False

    async def exec(self, engine_id: str, command: Sequence[str]) -> Console:
        await super().exec(engine_id, command)
        self.running.append(Command(self, command))
        return self.running[-1]

    async def close(self) -> None:
        self.closed = True
        for each in self.running:
            await FakeConsole.close(each)
        await super().close()


class Command(FakeConsole):
    """One that runs until it is hung up on, which takes a moment and the engine."""

    def __init__(self, engine: Engine, command: Sequence[str]) -> None:
        super().__init__(command)
        self._engine = engine

    async def close(self) -> None:
        await asyncio.sleep(0.1)
        if not self._engine.closed:
            self._engine.running.remove(self)
            self._engine.ended += 1


class Plane:
    """A process's roles, in this one."""

    def __init__(self, settings: Settings, dsn: str) -> None:
        async def database() -> str:
            return dsn

        settings.state_dir.mkdir()
        self.settings, self.stop = settings, asyncio.Event()
        self.task = asyncio.create_task(roles.run(settings, dsn=database, stop=self.stop))

    @property
    def auth(self) -> dict[str, str]:
        """The admin's, for who made it."""
        found = json.loads((self.settings.state_dir / KEY_FILE).read_text())
        return {"Authorization": f"ApiKey {found['user']}:{found['api_key']}"}

    async def ended(self) -> None:
        """Ask it to stop, and wait until it has."""
        self.stop.set()
        async with asyncio.timeout(30):
            await self.task


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    """The one of the agents that begin in this process."""
    made = Engine()
    monkeypatch.setattr(roles, "DockerRuntime", lambda _url, _lends: made)
    # A machine that pauses in the middle of a dial is waited for.
    monkeypatch.setattr(dial, "CONNECT_SECONDS", 20.0)
    monkeypatch.setattr(dial, "HANDSHAKE_SECONDS", 20.0)
    monkeypatch.setattr(dialbacks, "DIAL_SECONDS", 20.0)
    return made


@pytest.fixture
async def planes(engine: Engine, database_url: str, tmp_path: Path) -> AsyncIterator[tuple[Plane, Plane]]:
    """One with an agent, whose key is the admin's, and one without."""

    def settings(name: str, roles_: str, inside: str = "") -> Settings:
        return Settings(state_dir=tmp_path / name, port=free_port(), agent_port=free_port(), secret_key=SECRET,
                        roles=roles_, inside_address=inside)  # fmt: skip

    first = Plane(settings("one", "api,orchestrator,agent", "127.0.0.2"), database_url)
    made = [first]
    try:
        await eventually(lambda: listens(first), "the first to listen")
        made.append(Plane(settings("two", "api"), database_url))
        await eventually(lambda: listens(made[1]), "the second to listen")
        yield made[0], made[1]
    finally:
        for each in reversed(made):
            await each.ended()


def listens(plane: Plane) -> bool:
    if plane.task.done():
        plane.task.result()
    try:
        return httpx2.get(f"{plane.settings.local_url}/readyz").status_code == 200
    except httpx2.TransportError:
        return False


async def container(plane: Plane) -> str:
    """A running container of the admin's."""
    found: list[str] = []
    async with httpx2.AsyncClient(base_url=plane.settings.local_url, headers=plane.auth) as http:
        made = await http.post("/api/v1/service/", json={"image": IMAGE, "name": "web"})
        await http.post(f"{made.json()['resource_uri']}start/")

    def look() -> bool:
        shown = httpx2.get(f"{plane.settings.local_url}/api/v1/container/?state=Running", headers=plane.auth)
        found.extend(each["uuid"] for each in shown.json()["objects"])
        return bool(found)

    await eventually(look, "the container to run", every=0.1)
    return found[0]


@contextlib.asynccontextmanager
async def command(address: str, path: str, auth: dict[str, str]) -> AsyncIterator[ClientConnection]:
    """`cat` in the container, which is seen to run."""
    url, local = f"ws://{address}{path}?command=cat", ("127.0.0.1", 0)
    async with connect(url, additional_headers=auth, proxy=None, local_addr=local, close_timeout=1.0) as socket:
        await socket.send("typed")
        assert (await frame(socket))["output"] == "typed"
        yield socket


@pytest.mark.parametrize("by", ["its own API", "the door for containers", "another control plane"])
async def test_commands_end_before_the_agent_does(planes: tuple[Plane, Plane], engine: Engine, by: str) -> None:
    first, second = planes
    path = f"/v1/container/{await container(first)}/exec/"
    asked = second if by == "another control plane" else first
    host = "127.0.0.2" if by == "the door for containers" else "127.0.0.1"
    async with command(f"{host}:{asked.settings.port}", path, first.auth) as socket:
        await first.ended()
        assert (engine.closed, engine.ended, engine.running) == (True, 1, [])
        if asked is first:
            frames, code = await rest(socket)
            assert code == 1012
            assert "EOF" not in [each["output"] for each in frames if each["type"] == "exec"]
