"""Keeps the database there: the embedded server alive, the schema migrated, and says when both hold."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from pathlib import Path

import structlog

from app import migrate
from app.postgres import EmbeddedPostgres, PostgresError
from orchestrator.store import health

WATCH_SECONDS = 2.0
BACK_OFF = (0.5, 30.0)
ROOT = Path(__file__).resolve().parent.parent
log = structlog.stdlib.get_logger("tutela.database")


class MigrationFailed(RuntimeError):
    """The schema cannot be brought up to date; trying again would not help."""


class Stopping(RuntimeError):
    """The process ends before the database was ready."""


class DatabaseKeeper:
    """The database of one server process. With a URL it only migrates, else it runs Postgres."""

    def __init__(self, state_dir: Path, database_url: str | None) -> None:
        self._url = database_url
        self._embedded = None if database_url else EmbeddedPostgres(state_dir)
        self._ready: asyncio.Event = asyncio.Event()
        self._failure: BaseException | None = None
        self._dsn = database_url or ""
        self._starting: asyncio.Task[str] | None = None

    async def dsn(self) -> str:
        """Wait until the database is up and migrated; its DSN. Raises MigrationFailed, Stopping."""
        await self._ready.wait()
        if self._failure is not None:
            raise self._failure
        return self._dsn

    async def run(self) -> None:
        """Start, migrate, then watch until cancelled. A dead postmaster is started again, with back-off."""
        try:
            await self._bring_up()
            await self._migrate()
        except Exception as error:
            self._failure = error
            self._ready.set()
            raise
        self._ready.set()
        if self._embedded is None:
            return
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            if not await asyncio.to_thread(self._embedded.running):
                log.warning("postgres is gone, starting it again")
                await self._bring_up()

    def abandon(self) -> None:
        """Let go whoever still waits in `dsn`: the process is stopping."""
        if not self._ready.is_set():
            self._failure = Stopping("the process is stopping")
            self._ready.set()

    async def close(self) -> None:
        """Stop the embedded server; call it when `run` and the roles ended. Also ends a start under way."""
        if self._embedded is None:
            return
        try:
            await asyncio.to_thread(self._embedded.stop)
            if self._starting is not None and not self._starting.done():
                # Its thread outlives the cancelled task; it may have begun after the stop above.
                await asyncio.gather(self._starting, return_exceptions=True)
                await asyncio.to_thread(self._embedded.stop)
        except PostgresError as error:
            log.error("postgres was not stopped", reason=str(error))

    async def _bring_up(self) -> None:
        if self._embedded is None:
            return
        pause = BACK_OFF[0]
        while True:
            try:
                self._starting = asyncio.create_task(asyncio.to_thread(self._embedded.start))
                self._dsn = await asyncio.shield(self._starting)
            except PostgresError as error:
                log.error("postgres did not start", reason=str(error), again_in=pause)
                await asyncio.sleep(pause)
                pause = min(pause * 2, BACK_OFF[1])
            else:
                log.info("postgres is up")
                return

    async def _migrate(self) -> None:
        """Run the migrations that are missing in a process of their own; again while the database is away."""
        if await self._is_newest():
            return
        pause = BACK_OFF[0]
        while True:
            code, line = await self._migrate_once()
            if code == migrate.DONE:
                log.info("the database is migrated")
                return
            if code != migrate.AWAY:
                raise MigrationFailed(line)
            log.warning("the database is away", reason=line, again_in=pause)
            await asyncio.sleep(pause)
            pause = min(pause * 2, BACK_OFF[1])

    async def _is_newest(self) -> bool:
        """Whether nothing is to be migrated: most starts need not wait for that process."""
        try:
            return await health.schema_of(self._dsn) == migrate.newest()
        except Exception as error:
            log.debug("the schema cannot be asked for", reason=str(error))
            return False  # the migration says why

    async def _migrate_once(self) -> tuple[int, str]:
        environment = {**os.environ, "DATABASE_URL": self._dsn, "PYTHONPATH": str(ROOT)}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "app.migrate",
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE, env=environment, start_new_session=True,
        )  # fmt: skip
        try:
            _, errors = await process.communicate()
        except asyncio.CancelledError:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            await process.wait()
            raise
        lines = errors.decode("utf-8", "replace").strip().splitlines()
        return process.returncode or 0, (lines[-1] if lines else "no reason given").removeprefix("tutela: ")
