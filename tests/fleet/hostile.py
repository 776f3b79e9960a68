"""A host that joined as any other, and whose agent is an attacker's: it says what it likes in the protocol's words."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from agents import credentials, enrol, frames
from agents.dial import open_socket
from agents.frames import Join

T = TypeVar("T")
ENGINE = {
    "engine_id": "EVIL", "version": "20.10", "storage_driver": "overlay2", "cpus": 2, "memory": 4096,
    "place": "evil:/var/lib/docker",
}  # fmt: skip


class Hostile:
    """Its calls are plain JSON. It beats by itself, so that its node is one that is up."""

    def __init__(self, folder: Path, door: str) -> None:
        self.folder, self._door = folder, door
        self.heard: list[str] = []
        self.node_id = ""
        self.session = 0
        self._kept: credentials.Membership | None = None
        self._socket: ClientConnection | None = None
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="hostile agent")
        self._thread.start()

    def join(self, token: str, name: str) -> None:
        """Become a node, as the command does it."""

        async def join() -> None:
            word = enrol.read_token(token)
            trusted = await enrol.authority(self._door, word)
            asked = Join(secret=word.secret, name=name, request=credentials.request(self.folder))
            found = await enrol.join(self._door, word, trusted, asked)
            self._kept = credentials.membership(found, (self._door,), None)
            credentials.store(self.folder, self._kept, found.certificate)

        self._run(join())

    def connect(self) -> None:
        """A new connection with a new session."""

        async def connect() -> None:
            await self._hang_up()
            self._socket = await self._dial(frames.SESSION_PATH)
            self._tasks = [asyncio.create_task(self._read(self._socket))]
            hello = {"name": "h1", "cluster_id": None, "engine": ENGINE}
            begun = (await self._call("register", hello))["body"]
            self.node_id, self.session = begun["node_id"], begun["session"]
            self._tasks.append(asyncio.create_task(self._beat()))

        self._run(connect())

    def call(self, name: str, body: Any) -> dict[str, Any]:
        """The answer. Raises ConnectionError when the connection ends instead."""
        return self._run(self._call(name, body))

    def say(self, text: str) -> None:
        """Send this; whether it is understood is another matter."""

        async def say() -> None:
            assert self._socket is not None
            with contextlib.suppress(ConnectionClosed):
                await self._socket.send(text)

        self._run(say())

    def ended(self) -> bool:
        """Whether the control plane ended the connection, within half a minute."""

        async def ended() -> bool:
            assert self._socket is not None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(30):
                    await self._socket.wait_closed()
                    return True
            return False

        return self._run(ended())

    def dial(self, path: str) -> None:
        """Another connection, at once closed. Raises NotAllowed, ConnectionError."""

        async def dial() -> None:
            await (await self._dial(path)).close()

        self._run(dial())

    def registration(self) -> dict[str, Any]:
        """Its own, to be changed."""
        assert self._kept is not None
        return {"cluster_id": str(self._kept.cluster_id), "node_id": self.node_id, "session": self.session}

    def report(self, containers: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        """The body of a report of its own."""
        body = {"node_id": self.node_id, "session": self.session, "seq": next(self._numbers), "applied_revision": 1}
        return {**body, "engine": ENGINE, "containers": containers, **more}

    def close(self) -> None:
        """End it."""
        self._run(self._hang_up())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=10)
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    async def _dial(self, path: str) -> ClientConnection:
        assert self._kept is not None
        return await open_socket(self._door, path, credentials.context(self.folder, self._kept))

    async def _call(self, name: str, body: Any) -> dict[str, Any]:
        assert self._socket is not None
        number = next(self._numbers)
        waiting = self._waiting[number] = self._loop.create_future()
        try:
            await self._socket.send(json.dumps({"id": number, "call": name, "body": body}))
            async with asyncio.timeout(20):
                answer: dict[str, Any] = await waiting
                return answer
        except ConnectionClosed as error:
            raise ConnectionError(str(error)) from error
        finally:
            del self._waiting[number]

    async def _read(self, socket: ClientConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            async for text in socket:
                self.heard.append(str(text))
                frame = json.loads(text)
                waiting = self._waiting.get(frame.get("id", 0))
                if waiting is not None and not waiting.done():
                    waiting.set_result(frame)
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(ConnectionError("the connection ended"))

    async def _beat(self) -> None:
        with contextlib.suppress(ConnectionError, TimeoutError):
            while True:
                await self._call("beat", {"node_id": self.node_id, "session": self.session, "engine_up": True})
                await asyncio.sleep(1)

    async def _hang_up(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._socket is not None:
            await self._socket.close()
