"""WS /v1/container/<uuid>/exec/ (spec 4.14): a command with a terminal."""

from __future__ import annotations

import asyncio
import codecs
import shlex

from app.streams.options import ident, read_command
from app.streams.peer import LATER, TOO_SLOW, Ended, Peer
from app.wire.logs import Console, Streams
from app.wire.scalars import uri
from app.wire.streams import EXEC_END, exec_frame
from domain.container import ContainerState, container_state
from domain.errors import Conflict, NotAllowed
from orchestrator.store import audit, containers
from orchestrator.store.accounts import Account
from orchestrator.store.audit import Entry
from orchestrator.store.db import Database

IDLE_SECONDS = 600.0
"""A terminal that somebody left behind (RELIABILITY S19)."""


async def exec_command(peer: Peer, account: Account) -> None:
    """Run it, until it ends or the client goes. Raises NotFound, Invalid, NotAllowed, Conflict, Ended."""
    command, container_id = read_command(peer), ident(peer, "container")
    db: Database = peer.socket.app.state.db
    streams: Streams | None = peer.socket.app.state.logs
    async with db.read() as conn:
        state = container_state(await containers.get(conn, account.id, container_id))
    if state is not ContainerState.RUNNING:
        raise NotAllowed(f"the container is {state.value}: a command needs a running one")
    if streams is None:
        raise Ended("commands cannot be run here: no node's agent is connected", LATER)
    entry: Entry = peer.socket.scope["tutela.audit"]
    entry.verb, entry.object_uri, entry.detail = "Container Exec", uri("container", container_id), shlex.join(command)
    async with db.transaction() as conn:
        await audit.write(conn, entry, 101)
    console = await streams.exec(container_id, command)
    idle = asyncio.timeout(IDLE_SECONDS)
    typing = asyncio.ensure_future(_type(peer, console, idle))
    try:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        async with idle:
            while data := await console.read():
                _awake(idle)
                if text := decoder.decode(data):
                    await peer.send(exec_frame(text))
        await peer.send(EXEC_END)
    except TimeoutError:
        raise Ended(f"nothing was typed or written for {IDLE_SECONDS / 60:.0f} minutes", TOO_SLOW) from None
    finally:
        typing.cancel()
        await asyncio.gather(typing, return_exceptions=True)
        await console.close()


async def _type(peer: Peer, console: Console, idle: asyncio.Timeout) -> None:
    try:
        while True:
            await console.write(await peer.input.get())
            _awake(idle)
    except Conflict:
        return  # reading says what became of it


def _awake(idle: asyncio.Timeout) -> None:
    idle.reschedule(asyncio.get_running_loop().time() + IDLE_SECONDS)
