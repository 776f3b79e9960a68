"""The event stream (spec 4.12)."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode

from orchestrator.store import accounts
from orchestrator.store.db import Database
from orchestrator.store.events import Position, at_edge, edge, purge, too_old, window
from tests.e2e.scenario import User
from tests.harness.server import TutelaProcess
from tests.streams.client import frame, key_of, rest, stream, until

pytestmark = pytest.mark.e2e
KEYS = {"type", "action", "parents", "resource_uri", "state", "cursor"}
ALL = "/v1/events/"


@pytest.fixture
def server(own_server: TutelaProcess) -> TutelaProcess:
    """One of its own: these tests write into its database, and end it."""
    return own_server


@pytest.fixture
async def conn(database_url: str) -> AsyncIterator[Any]:
    made = await asyncpg.connect(database_url)
    yield made
    await made.close()


async def say(conn: Any, account: UUID | None, name: str, count: int = 1) -> None:
    """Events that nothing but the stream cares for: states `<name> 0`, `<name> 1`..."""
    await conn.execute(
        "SELECT tutela_event($1, 'stack', 'update', gen_random_uuid(), '{}', $2 || ' ' || n)"
        " FROM generate_series(0, $3 - 1) n",
        account,
        name,
        count,
    )


async def admin(conn: Any) -> UUID:
    found: UUID = await conn.fetchval("SELECT id FROM accounts WHERE username = 'admin'")
    return found


def states(frames: list[dict[str, Any]], uri: str) -> list[tuple[str, str]]:
    return [(each["action"], each["state"]) for each in frames if each["resource_uri"] == uri]


@pytest.mark.parametrize("path", [ALL, "/v1/events", "//v1//events/"])
async def test_the_first_frame_says_that_the_login_was_good(server: TutelaProcess, path: str) -> None:
    async with stream(server, path) as socket:
        first = await frame(socket)
    assert set(first) == KEYS
    assert (first["type"], first["action"], first["parents"], first["state"]) == ("auth", "", [], "")


async def test_the_life_of_a_service(user: User, server: TutelaProcess) -> None:
    async with stream(server, ALL) as socket:
        await frame(socket)
        uuid = await asyncio.to_thread(user.run, "web")
        service = f"/api/v1/service/{uuid}/"
        node = user.api.get("/api/v1/node/").json["objects"][0]["resource_uri"]
        await asyncio.to_thread(user.do, uuid, "terminate", wait="Success")
        frames = await until(socket, lambda each: each["resource_uri"] == service and each["state"] == "Terminated")
    for each in frames:
        assert set(each) == KEYS, each
    got = states(frames, service)
    assert got[0] == ("create", "Init")
    assert ("update", "Running") in got
    assert got[-1] == ("delete", "Terminated")
    (container,) = {each["resource_uri"] for each in frames if each["type"] == "container"}
    assert [state for _, state in states(frames, container)] == ["Starting", "Running", "Terminating", "Terminated"]
    assert {tuple(each["parents"]) for each in frames if each["type"] == "container"} == {(service, node)}
    done = [each for each in frames if each["type"] == "action" and each["state"] == "Success"]
    assert all(service in each["parents"] or "/api/v1/service/" in each["parents"] for each in done)


async def test_a_late_commit_is_neither_missed_nor_overtaken(
    server: TutelaProcess, conn: Any, database_url: str
) -> None:
    me = await admin(conn)
    slow = await asyncpg.connect(database_url)
    try:
        async with stream(server, ALL) as socket:
            start = await frame(socket)
            begun = slow.transaction()
            await begun.start()
            await say(slow, me, "slow")
            await say(conn, me, "quick")
            await asyncio.sleep(0.5)
            await begun.commit()
            got = await until(socket, lambda each: each["state"] == "quick 0")
            assert [each["state"] for each in got] == ["slow 0", "quick 0"]
        async with stream(server, f"{ALL}?cursor={start['cursor']}") as socket:
            again = await until(socket, lambda each: each["state"] == "quick 0")
            assert [each["state"] for each in again[1:]] == ["slow 0", "quick 0"]
        async with stream(server, f"{ALL}?cursor={got[0]['cursor']}") as socket:
            again = await until(socket, lambda each: each["state"] == "quick 0")
            assert [each["state"] for each in again[1:]] == ["quick 0"]
    finally:
        await slow.close()


async def test_the_events_of_an_object_are_in_order_although_the_older_transaction_changed_it_last(
    server: TutelaProcess, conn: Any, database_url: str
) -> None:
    me = await admin(conn)
    older = await asyncpg.connect(database_url)
    try:
        async with stream(server, ALL) as socket:
            start = await frame(socket)
            begun = older.transaction()
            await begun.start()
            await older.fetchval("SELECT pg_current_xact_id()")
            await say(conn, me, "before")
            await say(older, me, "after")
            await begun.commit()
            got = await until(socket, lambda each: each["state"] == "after 0")
            assert [each["state"] for each in got] == ["before 0", "after 0"]
        for cursor, left in ((start["cursor"], ["before 0", "after 0"]), (got[0]["cursor"], ["after 0"])):
            async with stream(server, f"{ALL}?cursor={cursor}") as socket:
                again = await until(socket, lambda each: each["state"] == "after 0")
            assert [each["state"] for each in again[1:]] == left
    finally:
        await older.close()


async def test_many_connections_read_the_table_no_more_often_than_one(server: TutelaProcess, conn: Any) -> None:
    me = await admin(conn)
    async with contextlib.AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(stream(server, ALL)) for _ in range(50)]
        for socket in sockets:
            await frame(socket)
        before = await scans(conn)
        for number in range(20):
            await say(conn, me, str(number))
            for socket in sockets:
                await until(socket, lambda each, end=f"{number} 0": each["state"] == end)  # type: ignore[misc]
        assert await scans(conn) - before < 20 * 50


async def scans(conn: Any) -> int:
    """How often the table was read, as far as Postgres has counted."""
    await asyncio.sleep(1.5)
    found: int = await conn.fetchval("SELECT seq_scan + idx_scan FROM pg_stat_user_tables WHERE relname = 'events'")
    return found


async def test_the_purge_keeps_what_tells_an_old_cursor(database_url: str, conn: Any) -> None:
    me = uuid4()
    await conn.execute("INSERT INTO accounts (id, username, role) VALUES ($1, 'me', 'member')", me)
    start = at_edge((await edge(conn))[0])
    await say(conn, me, "old", 10)
    middle = at_edge((await edge(conn))[0])
    await conn.execute("UPDATE events SET at = at - interval '25 hours'")
    await say(conn, me, "new", 10)
    assert await purge(conn) == 9
    assert await purge(conn) == 0
    assert await conn.fetchval("SELECT count(*) FROM events") == 11
    assert (await too_old(conn, start), await too_old(conn, middle)) == (True, False)
    now = (await edge(conn))[0]
    assert len(await window(conn, Position(middle.since, now, 0), 100)) == 10


async def test_nothing_is_lost_between_two_connections(server: TutelaProcess, conn: Any) -> None:
    me, wanted = await admin(conn), 3000
    seen: list[str] = []

    async def write() -> None:
        for number in range(wanted // 10):
            await say(conn, me, str(number), 10)

    async with stream(server, ALL) as socket:
        cursor = (await frame(socket))["cursor"]
    writing = asyncio.ensure_future(write())
    while len(seen) < wanted:
        async with stream(server, f"{ALL}?cursor={cursor}") as socket:
            for _ in range(min(400, wanted - len(seen)) + 1):
                got = await frame(socket)
                if got["type"] == "error":
                    break  # a server that was held up has a thousand waiting, and says to go on by the cursor
                cursor = got["cursor"]
                if got["type"] == "stack" and got["state"] not in seen:
                    seen.append(got["state"])
    await writing
    assert seen == [f"{number} {each}" for number in range(wanted // 10) for each in range(10)]


async def test_another_account_sees_its_own_and_the_nodes(server: TutelaProcess, conn: Any, database_url: str) -> None:
    me, other = await admin(conn), uuid4()
    await conn.execute("INSERT INTO accounts (id, username, role) VALUES ($1, 'other', 'member')", other)
    db = await Database.open(database_url, size=1)
    async with db.transaction() as own:
        await accounts.add_key(own, other, "other-key", "test")
    await db.close()
    async with (
        stream(server, ALL) as mine,
        stream(server, f"{ALL}?user=other&token=other-key", header="") as theirs,
    ):
        start = (await frame(mine), await frame(theirs))[1]
        await say(conn, me, "mine")
        await say(conn, other, "theirs")
        await say(conn, None, "everybody")
        for socket, own_state in ((mine, "mine 0"), (theirs, "theirs 0")):
            got = await until(socket, lambda each: each["state"] == "everybody 0")
            assert [each["state"] for each in got] == [own_state, "everybody 0"]
    async with stream(server, f"{ALL}?user=other&token=other-key&cursor={start['cursor']}", header="") as theirs:
        got = await until(theirs, lambda each: each["state"] == "everybody 0")
    assert [each["state"] for each in got[1:]] == ["theirs 0", "everybody 0"]


async def test_who_does_not_read_is_closed_and_others_are_served(server: TutelaProcess, conn: Any) -> None:
    me = await admin(conn)
    async with stream(server, ALL, unread=True) as slow, stream(server, ALL) as quick:
        await frame(quick)
        for number in range(60):
            await say(conn, me, f"{number} {'x' * 2000}", 200)
            await until(quick, lambda each: each["state"].endswith(" 199"))
        assert "too slow" in server.log()
        with pytest.raises(ConnectionClosed):
            await until(slow, lambda each: False)
        await say(conn, me, "after")
        assert (await frame(quick))["state"] == "after 0"


async def test_what_is_new_is_not_held_against_who_reads_a_long_replay(server: TutelaProcess, conn: Any) -> None:
    """More than a backlog comes while it reads what it missed, which is more than lies in buffers on the way."""
    me = await admin(conn)
    async with stream(server, ALL) as socket:
        cursor = (await frame(socket))["cursor"]
    missed, new = 6000, 3000
    await say(conn, me, "x" * 2000, missed)
    async with stream(server, ALL) as quick, stream(server, f"{ALL}?cursor={cursor}", unread=True) as resumed:
        await frame(quick)
        assert (await frame(resumed))["type"] == "auth"
        for number in range(new // 100):
            await say(conn, me, f"new {number}", 100)
            await until(quick, lambda each: each["state"].endswith(" 99"))
        states = list[str]()
        widen(resumed)
        async with asyncio.timeout(60):
            while len(states) < missed + new:
                got = await frame(resumed)
                assert got["type"] == "stack", got
                states.append(got["state"].rpartition(" ")[2])
        assert states[:missed] == [str(number) for number in range(missed)]
        assert states[missed:] == [str(number) for _ in range(new // 100) for number in range(100)]
        await say(conn, me, "live")
        assert (await frame(resumed))["state"] == "live 0"
    assert "too slow" not in server.log()


def widen(socket_: ClientConnection) -> None:
    """Who was `unread` reads in earnest from now on."""
    socket_.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024 * 1024)


async def test_a_replay_ends_when_what_it_has_still_to_tell_may_be_gone(server: TutelaProcess, conn: Any) -> None:
    me = await admin(conn)
    async with stream(server, ALL) as socket:
        cursor = (await frame(socket))["cursor"]
    await say(conn, me, "x" * 2000, 6000)
    async with stream(server, f"{ALL}?cursor={cursor}", unread=True) as resumed:
        assert (await frame(resumed))["type"] == "auth"
        await conn.execute("UPDATE events SET at = at - interval '25 hours'")
        await purge(conn)
        widen(resumed)
        got, code = await rest(resumed, within=60)
    assert (got[-1]["type"], code) == ("error", 4410)
    told = [int(each["state"].rpartition(" ")[2]) for each in got[:-1]]
    assert told == list(range(len(told)))
    assert len(told) < 6000


async def test_old_and_foreign_cursors_are_told(server: TutelaProcess, conn: Any) -> None:
    me = await admin(conn)
    async with stream(server, ALL) as socket:
        start = (await frame(socket))["cursor"]
        await say(conn, me, "old", 2)
        last = (await until(socket, lambda each: each["state"] == "old 1"))[-1]["cursor"]
    await conn.execute("UPDATE events SET at = at - interval '25 hours'")
    for cursor, code in ((start, 4410), ("nonsense", 4400), ("1.99999999999.5", 4400)):
        async with stream(server, f"{ALL}?cursor={cursor}") as socket:
            (told,), closed = await rest(socket)
        assert (told["type"], closed) == ("error", code), cursor
    # Old, but nothing came after it.
    async with stream(server, f"{ALL}?cursor={last}") as socket:
        assert (await frame(socket))["type"] == "auth"
        await say(conn, me, "new")
        assert (await frame(socket))["state"] == "new 0"


async def test_the_stream_goes_on_when_its_database_was_away(server: TutelaProcess, conn: Any) -> None:
    me = await admin(conn)
    async with stream(server, ALL) as socket:
        await frame(socket)
        await conn.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        await say(conn, me, "after")
        got = await until(socket, lambda each: each["state"] == "after 0")
        assert got[-1]["type"] == "stack"


async def test_the_server_stops_with_streams_open(server: TutelaProcess) -> None:
    async with stream(server, ALL) as socket:
        await frame(socket)
        assert await asyncio.to_thread(server.stop) == 0
        assert (await rest(socket))[1] == 1012
    assert key_of(server) not in server.log()


class Hearing(ClientConnection):
    """Notes when pongs come, and what is in them."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.pongs: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    def process_event(self, event: Any) -> None:
        if isinstance(event, Frame) and event.opcode is Opcode.PONG:
            self.pongs.put_nowait((time.monotonic(), bytes(event.data)))
        super().process_event(event)


async def test_pings_are_answered_at_once_and_once_more_later(server: TutelaProcess) -> None:
    """The old SDK's listener waits from what it heard last on, and gives up when it hears nothing between two pings."""
    async with stream(server, ALL, create_connection=Hearing) as socket_:
        assert isinstance(socket_, Hearing)
        began = time.monotonic()
        for word in ("one", "two"):
            await socket_.ping(word)
        async with asyncio.timeout(30):
            heard = [await socket_.pongs.get() for _ in range(3)]
        assert [word for _, word in heard] == [b"one", b"two", b""]
        assert heard[-1][0] - began > 0.9
        await asyncio.sleep(1.5)
        assert socket_.pongs.empty()
    for _ in range(2):
        async with stream(server, ALL) as socket_:
            await (await socket_.ping())  # who goes before the second pong
    await asyncio.sleep(1.2)
    assert "Traceback" not in server.log()
