"""The database of one process in virtual time: the interface of `orchestrator.store.db.Database` over one connection.

Every statement is one step of the world. Transactions are serial: one thread cannot wait for a row lock that another
of its tasks holds. Between two statements time may pass, so that their process can be killed there.
"""

from __future__ import annotations

import asyncio
import functools
import random
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from typing import Any, NoReturn

from orchestrator.store.db import Pool, translated
from tests.simulation.process import Process
from tests.simulation.server import Backend

_NOTIFY = re.compile(r"^SELECT pg_notify\('(\w+)', (?:'(.*)'|\$1)\)$")
_NOTIFY_EACH = re.compile(r"^SELECT pg_notify\('(\w+)', each\) FROM unnest\(\$1::text\[\]\) AS each$")
_CHANGE = re.compile(r"^WITH due AS \((.*)\) SELECT pg_notify\('(\w+)', '(.*)'\)$")

_NOW = "SELECT clock_timestamp()"
_CLOCKS = re.compile(r"\b(?:clock_timestamp|now)\(\)")
MOST_STEPS = 20_000
"""Statements without time passing; more is a loop without end."""

LONGEST_TRANSACTION = 10.0


class Kind(Enum):
    """What a statement is to a virtual database."""

    CLOCK = auto()
    NOTIFY = auto()
    NOTIFY_EACH = auto()
    SELECT = auto()
    OTHER = auto()


@functools.cache
def _kind(query: str) -> tuple[Kind, str, str | None]:
    """Of a statement: its kind, and for a notification its channel, and its payload unless that is a parameter."""
    if query == _NOW:
        return Kind.CLOCK, "", None
    if (match := _NOTIFY.match(query)) is not None:
        return Kind.NOTIFY, match[1], match[2]
    if (match := _NOTIFY_EACH.match(query)) is not None:
        return Kind.NOTIFY_EACH, match[1], None
    assert "pg_notify" not in query, f"a notification that the world would not hear: {query}"
    return (Kind.SELECT if query.lstrip().startswith("SELECT") else Kind.OTHER), "", None


@functools.cache
def _change(query: str) -> tuple[str, tuple[str, str] | None]:
    """Of a change with its notification in one statement (`wake.service`): the change, and the notification."""
    found = _CHANGE.match(query)
    return (query, None) if found is None else (found[1], (found[2], found[3]))


@functools.cache
def _timed(query: str, parameters: int) -> str | None:
    """The query with one more parameter in the place of its clocks; None when it has none."""
    timed = _CLOCKS.sub(f"${parameters + 1}::timestamptz", query)
    return None if timed == query else timed


class Livelock(RuntimeError):
    """So many statements in one moment that they have no end."""


@dataclass(slots=True, kw_only=True)
class Trouble:
    """What may go wrong, as shares of 1 by seed: a pause after a statement, a commit whose answer is lost.

    `unknown` commits are done in half of the cases. `away`: nobody reaches the database.
    """

    pause: float = 0.0
    unknown: float = 0.0
    away: bool = False


class Store:
    """The one database of a world. `now` is its clock, `heard` is told what is notified at a commit."""

    def __init__(
        self,
        backend: Backend,
        chance: random.Random,
        now: Callable[[], datetime],
        heard: Callable[[str, str], None],
    ) -> None:
        self.backend = backend
        self.chance = chance
        self.now = now
        self.heard = heard
        self.trouble = Trouble()
        self.lock = asyncio.Lock()
        self._told: datetime | None = None
        self._moment = 0.0
        self._steps = 0
        self._ended = False

    def run(self, method: str, query: str, *args: Any) -> Any:
        """One statement, at once."""
        now = asyncio.get_running_loop().time()
        if now != self._moment:
            self._moment, self._steps = now, 0
        self._steps += 1
        if self._steps > MOST_STEPS:
            raise Livelock(f"{MOST_STEPS} statements in one moment, the last: {query[:200]}")
        self.backend.statements += 1
        return self.backend.conn.run(method, query, *args)

    def begin(self) -> None:
        """Begin a transaction, and tell the server what time it is unless it knows."""
        now, script = self.now(), "BEGIN"
        if now != self._told:
            script = f"SET sim.now = '{now.isoformat()}'; BEGIN"
            self._told = now
        if self._ended:
            script, self._ended = f"COMMIT; {script}", False
        self.backend.conn.before(script)

    def commit(self) -> None:
        """End the transaction. Sent with the next beginning, or before somebody else looks: a round trip less."""
        self._ended = True

    def read(self, method: str, query: str, args: tuple[Any, ...]) -> Any:
        """A query before anything was written. Its clock is a parameter: that saves the round trip to set it."""
        timed = _timed(query, len(args))
        return self.run(method, query, *args) if timed is None else self.run(method, timed, *args, self.now())

    def back(self) -> None:
        """Undo the open transaction, the clock that was told in it too."""
        self._told = None
        self.run("execute", "ROLLBACK")

    def ask(self, query: str, *args: Any) -> list[Any]:
        """What is committed, for whoever judges; no part of the world, so that no time passes."""
        if self._ended:
            self._ended = False
            self.run("execute", "COMMIT")
        rows: list[Any] = self.backend.judge.run("fetch", query, *args)
        return rows


class _Connection:
    """What a block gets: statements of the product go through here."""

    def __init__(self, store: Store, process: Process) -> None:
        self._store = store
        self._process = process
        self.written = False
        self.notified: list[tuple[str, str]] = []

    async def _do(self, method: str, query: str, args: tuple[Any, ...]) -> Any:
        store = self._store
        self._process.check()
        if store.trouble.away:
            raise ConnectionResetError("the database was cut off")
        query, told = _change(query)
        if told is not None:
            self.notified.append(told)
        kind, channel, payload = _kind(query)
        if kind is Kind.CLOCK:
            return store.now()
        if kind is Kind.NOTIFY:
            # Sent at commit; `wake` alone sends any that is listened to.
            self.notified.append((channel, args[0] if payload is None else payload))
            return "SELECT 1"
        if kind is Kind.NOTIFY_EACH:
            self.notified += [(channel, each) for each in args[0]]
            return f"SELECT {len(args[0])}"
        if kind is Kind.SELECT and not self.written:
            # Transactions are serial, so that one without writes needs neither a beginning nor a commit.
            result = store.read(method, query, args)
        else:
            if not self.written:
                self.written = True
                store.begin()
            result = store.run(method, query, *args)
        if store.trouble.pause and store.chance.random() < store.trouble.pause:
            await asyncio.sleep(store.chance.uniform(0.0, 0.05))
            self._process.check()
        return result

    async def fetch(self, query: str, *args: Any) -> Any:
        return await self._do("fetch", query, args)

    async def fetchrow(self, query: str, *args: Any) -> Any:
        return await self._do("fetchrow", query, args)

    async def fetchval(self, query: str, *args: Any) -> Any:
        return await self._do("fetchval", query, args)

    async def execute(self, query: str, *args: Any) -> Any:
        return await self._do("execute", query, args)

    async def executemany(self, query: str, rows: Any) -> None:
        for row in rows:
            await self._do("execute", query, tuple(row))

    def terminate(self) -> None:
        """The pool of a virtual database has one connection, which is kept."""


class VirtualDatabase:
    """One process's way to the store. Raises DatabaseAway as the real one does."""

    dsn = "virtual"

    def __init__(self, store: Store, process: Process, *, cut: Callable[[], bool] = lambda: False) -> None:
        """`cut`: whether this process cannot reach the database now."""
        self._store = store
        self._process = process
        self._cut = cut

    async def close(self) -> None:
        """Nothing to give back."""

    def pool(self) -> Pool:
        """One connection."""
        return Pool(size=1, idle=1, most=1)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Any]:
        """As Database.read."""
        async with self.transaction() as conn:
            yield conn

    @asynccontextmanager
    async def single(self) -> AsyncIterator[Any]:
        """As Database.single."""
        async with self.transaction() as conn:
            yield conn

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        """As Database.transaction; a commit may be done or not without its caller being told."""
        conn, store = await self._begin(), self._store
        began, ended = asyncio.get_running_loop().time(), False
        try:
            yield conn
            if asyncio.get_running_loop().time() - began > LONGEST_TRANSACTION:
                raise AssertionError("something else than the database was awaited in a transaction")
            self._process.check()
            self._commit(conn)
            ended = True
        except CommittedUnknown as error:
            ended = True
            _raise_translated(conn, error)
        except Exception as error:
            _raise_translated(conn, error)
        finally:
            if not ended and conn.written:
                store.back()
            store.lock.release()

    def _commit(self, conn: _Connection) -> None:
        store, lot = self._store, self._store.chance.random()
        if store.trouble.away or lot < store.trouble.unknown / 2:
            raise ConnectionResetError("the connection was cut before the commit")
        if conn.written:
            store.commit()
        for channel, payload in dict.fromkeys(conn.notified):
            store.heard(channel, payload)
        if lot < store.trouble.unknown:
            raise CommittedUnknown("the connection was cut after the commit")

    async def _begin(self) -> _Connection:
        store = self._store
        await self._process.reach()
        await asyncio.sleep(store.chance.uniform(0.0002, 0.002))
        await self._process.reach()
        conn = _Connection(store, self._process)
        if store.trouble.away or self._cut():
            await asyncio.sleep(store.chance.uniform(0.0, 2.0))
            await self._process.reach()
            if store.trouble.away or self._cut():
                _raise_translated(conn, ConnectionRefusedError("the database is away"))
        await store.lock.acquire()
        return conn


def _raise_translated(conn: _Connection, error: Exception) -> NoReturn:
    with translated(conn):
        raise error
    raise AssertionError("an error was swallowed")


class CommittedUnknown(ConnectionResetError):
    """Committed, but the caller is told that the connection was cut."""
