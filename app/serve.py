"""`python -m app.serve`: the server process. Holds the lock, keeps the database, runs the roles.

Exit codes: 0 after a clean stop, 1 when a role or the migrations failed, 2 on bad settings, 3 when another
server holds the lock.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from types import FrameType

import structlog
from pydantic import ValidationError

from app import logs
from app.engine import find_engine
from app.keeper import DatabaseKeeper, MigrationFailed, Stopping
from app.lock import LockTaken, ServerLock, prepare_state_dir
from app.serve_codes import BAD_SETTINGS, CLEAN, FAILED, TAKEN
from app.settings import Settings, explain, get_settings
from app.watchdog import signs_of_life

Roles = Callable[[Settings, Callable[[], Awaitable[str]], asyncio.Event], Awaitable[None]]
log = structlog.stdlib.get_logger("tutela.serve")


@contextlib.contextmanager
def _loading() -> Iterator[None]:
    """What is imported stays: the collector looks at none of it, neither meanwhile (a fifth of the time) nor later."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


async def _roles(settings: Settings, dsn: Callable[[], Awaitable[str]], stop: asyncio.Event) -> None:
    with _loading():
        from app import roles

    await roles.run(settings, dsn=dsn, stop=stop)


async def serve(settings: Settings, *, roles: Roles = _roles) -> int:
    """Run everything until SIGTERM or SIGINT. Returns the exit code; leaves no database process behind."""
    stop = asyncio.Event()
    _handle_signals(stop)
    keeper = DatabaseKeeper(settings.state_dir, settings.database_url)
    keeping = asyncio.create_task(keeper.run(), name="database")
    running = asyncio.ensure_future(roles(settings, keeper.dsn, stop))
    stopping = asyncio.create_task(stop.wait(), name="stop")
    alive = asyncio.create_task(signs_of_life(), name="signs of life")
    code = CLEAN
    try:
        code = await _watch(keeping, running, stopping)
    finally:
        stop.set()
        keeper.abandon()
        keeping.cancel()
        code = max(code, await _finish(running))
        await asyncio.gather(keeping, stopping, return_exceptions=True)
        await keeper.close()
        alive.cancel()
    return code


async def _watch(keeping: asyncio.Task[None], running: asyncio.Future[None], stopping: asyncio.Task[bool]) -> int:
    """Wait for a signal, for the end of the roles, or for a database that cannot be had."""
    watched: set[asyncio.Future[None] | asyncio.Future[bool]] = {keeping, running, stopping}
    while True:
        await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
        if stopping.done():
            return CLEAN
        if running.done():
            log.error("the roles ended without being asked to")
            return FAILED
        if keeping.done():
            watched.discard(keeping)
            error = keeping.exception()
            if error is not None:
                log.error("no usable database", reason=str(error))
                return FAILED


async def _finish(running: asyncio.Future[None]) -> int:
    """Wait for the roles to end; they were asked to, or their database will never come."""
    try:
        await running
    except Stopping:
        return CLEAN
    except (MigrationFailed, asyncio.CancelledError):
        return FAILED
    except Exception:
        log.exception("a role failed")
        return FAILED
    return CLEAN


def _handle_signals(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    seen: list[int] = []

    def on_signal(number: int, _frame: FrameType | None) -> None:
        if seen:
            os._exit(128 + number)
        seen.append(number)
        loop.call_soon_threadsafe(stop.set)

    # Not add_signal_handler: the second signal must end the process even when the loop hangs.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)


def _run(settings: Settings, roles: Roles) -> int:
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(serve(settings, roles=roles))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    with contextlib.suppress(ImportError):
        import uvloop

        return uvloop.new_event_loop
    return None


def _run_agent(settings: Settings) -> int:
    """The agent of a host that joined: no database, no API."""
    with _loading():
        from app.fleet import joined
        from app.installation import host_rules_of

    folder = joined.directory(settings.state_dir)
    lock = ServerLock(folder)
    try:
        engine = settings.docker_host or joined.member(settings.state_dir).docker_host or find_engine(None).url
        prepare_state_dir(settings.state_dir)
        prepare_state_dir(folder)
        lock.take("")
    except joined.NotJoined as error:
        log.error("no node", reason=str(error))
        return BAD_SETTINGS
    except LockTaken as error:
        log.error("an agent runs already", reason=str(error))
        return TAKEN
    except OSError as error:
        log.error("cannot use the state directory", path=str(folder), reason=str(error.strerror))
        return BAD_SETTINGS

    async def serving() -> int:
        stop = asyncio.Event()
        _handle_signals(stop)
        alive = asyncio.create_task(signs_of_life(), name="signs of life")
        try:
            await joined.run(settings.state_dir, engine, host_rules_of(settings).of_host, stop)
        except joined.LedgerLocked as error:
            log.error("another agent works here", reason=str(error))
            return TAKEN
        except Exception:
            log.exception("the agent failed")
            return FAILED
        finally:
            alive.cancel()
        return CLEAN

    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(serving())
    finally:
        lock.release()


def main(roles: Roles = _roles) -> int:
    """The command: settings, lock, logging, loop. Returns the exit code."""
    os.umask(0o077)
    try:
        settings = get_settings()
    except ValidationError as error:
        print(f"tutela: {explain(error)}", file=sys.stderr)
        return BAD_SETTINGS
    logs.configure()
    if settings.joined_agent:
        return _run_agent(settings)
    lock = ServerLock(settings.state_dir)
    try:
        prepare_state_dir(settings.state_dir)
        lock.take(settings.local_url)
    except LockTaken as error:
        print(f"tutela: {error}", file=sys.stderr)
        return TAKEN
    except OSError as error:
        print(f"tutela: cannot use {settings.state_dir}: {error.strerror}", file=sys.stderr)
        return BAD_SETTINGS
    if settings.docker_host is None and "agent" in settings.role_set:
        settings = settings.model_copy(update={"docker_host": find_engine(None).url})
    if settings.exposed:
        log.warning("no TLS beyond this machine: keys travel in the clear", host=settings.host)
    try:
        return _run(settings, roles)
    finally:
        lock.release()


if __name__ == "__main__":
    sys.exit(main())
