"""Which roles this process plays.

The only composer: it is the one module that knows orchestrator and agents at once. The agent starts first and
never waits for the database: it keeps the containers of its last assignment true by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from functools import partial
from typing import Any

import structlog
import uvicorn
from starlette.types import ASGIApp
from websockets.asyncio.client import ClientConnection

from agents.agent import Agent
from agents.dial import open_socket
from agents.dialback import Dial, DialBack
from agents.runtime.docker import DockerRuntime
from app import inside, monitor
from app.first_start import KEY_FILE, first_start
from app.fleet import kept
from app.fleet.authority import Authority, WrongSecret, open_authority
from app.fleet.calls import ControlPlane, NodeCalls
from app.fleet.dialbacks import Dialbacks
from app.fleet.door import Door
from app.fleet.presence import keep
from app.fleet.streams import FleetStreams
from app.http_protocol import HttpProtocol
from app.installation import host_rules_of, installation_of
from app.main import create_app, create_monitor
from app.secretbox import SecretBox
from app.settings import Settings
from app.streams.protocol import MOST_MESSAGE, PING_SECONDS, PONG_SECONDS, StreamProtocol
from orchestrator.listener import Wakeups, listen
from orchestrator.planning.view import Policy
from orchestrator.run import orchestrate, unending
from orchestrator.store import nodes, rebuild
from orchestrator.store.db import Database
from orchestrator.store.errors import DatabaseAway

log = structlog.get_logger("roles")
MOST_CONNECTIONS = 4000
"""Beyond them the answer is 503."""
HANG_UP_SECONDS, END_SECONDS = 6.0, 9.0
"""For the control plane with all streams to end, and then for the agent."""


class _Server(uvicorn.Server):
    """uvicorn without its own signal handlers: the process has one place that handles signals."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def run(settings: Settings, *, dsn: Callable[[], Awaitable[str]], stop: asyncio.Event) -> None:
    """Play the roles until `stop` is set. `dsn()` returns once the database is up and migrated.

    A role that ends by itself ends the process: its supervisor restarts it.
    """
    roles = {role.strip() for role in settings.roles.split(",")}
    wakeups = Wakeups()
    database: asyncio.Future[Database] = asyncio.get_running_loop().create_future()
    secrets = await asyncio.to_thread(SecretBox.open, settings.state_dir, settings.secret_key)
    shared = ControlPlane(database, wakeups, secrets, installation_of(settings))
    agent = _agent(settings, NodeCalls(shared, address=settings.own_address)) if "agent" in roles else None
    tasks: list[asyncio.Task[None]] = []
    hung_up = asyncio.Event()
    if agent is not None:
        tasks.append(asyncio.create_task(agent.run(hung_up), name="agent"))
    control = asyncio.create_task(_with_database(settings, roles, dsn, stop, database, shared, agent), name="control")
    tasks.append(control)
    stopping = asyncio.create_task(stop.wait(), name="stop")
    try:
        done, _ = await asyncio.wait([*tasks, stopping], return_when=asyncio.FIRST_COMPLETED)
        if stopping not in done:
            await next(iter(done))
            raise RuntimeError(f"role {next(iter(done)).get_name()} ended by itself")
        # Streams end before the agent does: commands are ended with the engine's help.
        await asyncio.wait([control], timeout=HANG_UP_SECONDS)
        hung_up.set()
        await asyncio.wait(tasks, timeout=END_SECONDS)
    finally:
        stop.set()
        for task in [*tasks, stopping]:
            task.cancel()
        await asyncio.gather(*tasks, stopping, return_exceptions=True)
        if database.done() and not database.cancelled() and database.exception() is None:
            await database.result().close()


async def _with_database(
    settings: Settings,
    roles: set[str],
    dsn: Callable[[], Awaitable[str]],
    stop: asyncio.Event,
    database: asyncio.Future[Database],
    shared: ControlPlane,
    agent: Agent | None,
) -> None:
    address, wakeups = await dsn(), shared.wakeups
    db = await _open(address)
    if "api" in roles:
        await first_start(db, settings.state_dir / KEY_FILE)
    database.set_result(db)
    installation = installation_of(settings)
    async with asyncio.TaskGroup() as group:
        background: list[asyncio.Task[None]] = []

        def run_on(name: str, loop: Coroutine[Any, Any, None]) -> None:
            background.append(group.create_task(unending(name, loop)))

        run_on("listener", listen(address, wakeups))
        run_on("beats", shared.beats.run())
        run_on("polls", shared.polls.run())
        run_on("reports", shared.reports.run())
        run_on("news", shared.news.run())
        run_on("full sets", shared.full_sets.run())
        if "orchestrator" in roles:
            run_on("orchestrator", orchestrate(db, wakeups, installation, Policy()))
        authority = await _authority(db, shared) if roles & {"api", "agent"} else None
        if authority is not None:
            if agent is not None:
                shared.dialbacks.local = DialBack(agent.streams, _dialling(shared, authority))
                group.create_task(_hang_up(shared.dialbacks, stop), name="hang up")
            run_on("relay of streams", shared.dialbacks.relay(db, wakeups.streams))
        if "api" in roles:
            if authority is not None:
                await kept.keep(db, settings.state_dir)
                async with db.read() as conn:
                    shared.rebuilding = await rebuild.under_way(conn)
                run_on("door", Door(settings, db, shared, authority).run())
                run_on("presence", keep(shared, db, settings.agents_door))
            await _serve(settings, db, agent, shared, stop)
        else:
            watched = create_monitor(settings, db, shared.secrets)
            run_on("health", monitor.listen(settings, watched, partial(_server, settings)))
        await stop.wait()
        for task in background:
            task.cancel()


async def _serve(
    settings: Settings,
    db: Database,
    agent: Agent | None,
    shared: ControlPlane,
    stop: asyncio.Event,
) -> None:
    streams = FleetStreams(db, shared.dialbacks, agent.streams if agent else None)
    app = create_app(settings, db, streams, shared.wakeups.events, shared.secrets)
    server = _server(settings, app)
    serving = asyncio.create_task(_served(server), name="uvicorn")
    stopping = asyncio.create_task(stop.wait())
    doors = [asyncio.create_task(_inside(settings, app, db), name="inside")] if inside.wanted(settings) else []
    await asyncio.wait([serving, stopping], return_when=asyncio.FIRST_COMPLETED)
    server.should_exit = True
    for task in (stopping, *doors):
        task.cancel()
    await asyncio.gather(*doors, return_exceptions=True)
    await serving
    if not stop.is_set():
        where = f"{settings.host}:{settings.port}"
        log.error("the API could not listen", reason=f"on {where}: is the port taken? Then set TUTELA_PORT")
        raise RuntimeError(f"the API could not listen on {where}")


async def _hang_up(dialbacks: Dialbacks, stop: asyncio.Event) -> None:
    """Once `stop` is set, end what other control planes read and run on this process's host; they begin no more."""
    await stop.wait()
    local, dialbacks.local = dialbacks.local, None
    if local is not None:
        await local.close()


async def _served(server: uvicorn.Server) -> None:
    """Until it ends. Where it cannot listen, uvicorn would end the process, with our code of a lock that is taken."""
    with contextlib.suppress(SystemExit):
        await server.serve()


async def _authority(db: Database, shared: ControlPlane) -> Authority | None:
    """Who lets hosts join; None where this process cannot speak for it."""
    try:
        return await open_authority(db, shared.secrets)
    except WrongSecret as error:
        log.error("hosts cannot join here", reason=str(error))
        return None


def _dialling(shared: ControlPlane, authority: Authority) -> Dial:
    """How the agent in this process reaches other control planes: as its node, by the authority that it has."""

    async def dial(url: str, path: str) -> ClientConnection:
        node_id = shared.dialbacks.local_node
        if node_id is None:
            raise ConnectionError("the agent has no session yet")
        return await open_socket(url, path, await asyncio.to_thread(authority.node_context, node_id))

    return dial


async def _inside(settings: Settings, app: ASGIApp, db: Database) -> None:
    async def gateway() -> str:
        try:
            async with db.read() as conn:
                return await nodes.gateway(conn, settings.node_name)
        except DatabaseAway:
            return ""

    await inside.listen(settings, app, gateway, lambda inner, _sock: _server(settings, inner))


def _server(settings: Settings, app: ASGIApp) -> uvicorn.Server:
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        # Of proxies `Forwarded` knows: by itself uvicorn believes everybody on this machine.
        proxy_headers=False,
        http=HttpProtocol,
        limit_concurrency=MOST_CONNECTIONS,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=5,
        timeout_keep_alive=30,
        server_header=False,
        lifespan="off",
        ws=StreamProtocol,
        ws_ping_interval=PING_SECONDS,
        ws_ping_timeout=PONG_SECONDS,
        ws_max_size=MOST_MESSAGE,
        # Frames are short lines: packing costs more than it saves.
        ws_per_message_deflate=False,
    )
    return _Server(config)


async def _open(address: str) -> Database:
    while True:
        try:
            return await Database.open(address)
        except DatabaseAway as error:
            log.warning("database away", reason=str(error), retry_in=1.0)
            await asyncio.sleep(1.0)


def _agent(settings: Settings, channel: NodeCalls) -> Agent:
    base_url = settings.docker_host or "unix:///var/run/docker.sock"
    return Agent(
        name=settings.node_name,
        state_dir=settings.state_dir / "agent",
        runtime=DockerRuntime(base_url, host_rules_of(settings).of_host),
        channel=channel,
    )
