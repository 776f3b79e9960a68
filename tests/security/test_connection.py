"""The real server's connections: heads and bodies without end, slow and packed ones, streams of pages of others, floods
(S19, S27, F50, F51). Served in this process, so that its deadlines can be short."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import logging
import resource
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any
from uuid import UUID

import pytest
from starlette.types import ASGIApp
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from app import http_protocol
from app.api import middleware
from app.limits import Limits
from app.main import create_app
from app.roles import _server
from app.settings import Settings
from app.streams import execs
from app.streams.peer import THROTTLED, TOO_SLOW
from domain.container import Observed, Seen
from orchestrator.store import codec
from tests.admin.conftest import Office
from tests.agents.harness import eventually
from tests.api.client import KEY
from tests.security.conftest import fresh

OWNER = {"Authorization": f"ApiKey admin:{KEY}"}
LOOSE = "/api/audit/v1/events/"


@contextlib.asynccontextmanager
async def served(app: ASGIApp) -> AsyncIterator[int]:
    """The application behind uvicorn, as the roles serve it; its port."""
    sock = socket.create_server(("127.0.0.1", 0))
    server = _server(Settings(), app)
    serving = asyncio.create_task(server.serve(sockets=[sock]))
    await eventually(lambda: server.started, "the server to listen")
    yield int(sock.getsockname()[1])
    server.should_exit = True
    await serving


@pytest.fixture(scope="module")
async def port(shared_office: Office) -> AsyncIterator[int]:
    async with served(shared_office.app) as number:
        yield number


class Raw:
    """Bytes as they are."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def status(self) -> int | None:
        """The code of the next answer; None when the connection ends without one."""
        async with asyncio.timeout(20):
            try:
                line = await self.reader.readline()
            except ConnectionResetError:
                return None
        return int(line.split()[1]) if line else None

    async def ended(self) -> bool:
        async with asyncio.timeout(20):
            try:
                await self.reader.read()
            except ConnectionResetError:
                return True
        return True


@pytest.fixture
async def dial(port: int) -> AsyncIterator[Callable[[], Any]]:
    opened: list[Raw] = []

    async def new() -> Raw:
        opened.append(Raw(*await asyncio.open_connection("127.0.0.1", port)))
        return opened[-1]

    yield new
    for each in opened:
        each.writer.close()


def head(length: int | None, *more: str, method: str = "POST", path: str = "/api/v1/service/") -> bytes:
    size = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    lines = (f"{method} {path} HTTP/1.1", "Host: api.test", f"Authorization: ApiKey admin:{KEY}", size, *more)
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def memory() -> int:
    """The most that this process had so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


async def test_a_head_has_an_end(dial: Callable[[], Any]) -> None:
    for part in (b"GET /" + b"a" * 40_000, b"GET / HTTP/1.1\r\nX: " + b"b" * 40_000,
                 b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(4000))):  # fmt: skip
        one = await dial()
        await one.send(part)
        assert await one.status() == 431
        assert await one.ended()
    whole = await dial()
    await whole.send(head(0, "X: " + "c" * 20_000, method="GET"))
    assert await whole.status() == 431
    fits = await dial()
    await fits.send(head(0, "X: " + "c" * 10_000, method="GET"))
    assert await fits.status() == 200


async def test_who_says_nothing_or_little_is_not_waited_for(
    dial: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slow-loris: a connection without a request, a head that does not end, also after a good request; a body."""
    monkeypatch.setattr(http_protocol, "HEAD_SECONDS", 1.5)
    monkeypatch.setattr(middleware, "BODY_SECONDS", 0.4)
    mute, slow, later, body = await dial(), await dial(), await dial(), await dial()
    await slow.send(b"GET /health HTTP/1.1\r\nX: ")
    await later.send(head(0, method="GET") + b"GET /health HTTP/1.1\r\n")
    await body.send(head(100) + b"{")
    assert await later.status() == 200
    assert await body.status() == 408
    for each in (mute, slow, later):
        assert await each.ended()


async def test_a_body_is_measured_while_it_comes_whatever_it_says(dial: Callable[[], Any]) -> None:
    before = memory()
    said = await dial()
    await said.send(head(1024**3))
    assert await said.status() == 413
    chunked = await dial()
    await chunked.send(head(None))
    piece = b"10000\r\n" + b" " * 65_536 + b"\r\n"

    async def flood() -> None:
        for _ in range(16 * 1024):  # a gigabyte, if somebody takes it
            await chunked.send(piece)

    flooding = asyncio.create_task(flood())
    assert await chunked.status() == 413
    flooding.cancel()
    await asyncio.gather(flooding, return_exceptions=True)
    assert memory() - before < 20


async def test_what_is_packed_is_not_unpacked(dial: Callable[[], Any]) -> None:
    """A bomb of gzip is a body that is no JSON."""
    bomb = gzip.compress(b" " * (40 * 1024 * 1024))
    assert len(bomb) < 1024 * 1024
    before = memory()
    one = await dial()
    await one.send(head(len(bomb), "Content-Encoding: gzip", "Content-Type: application/json") + bomb)
    assert await one.status() == 400
    assert memory() - before < 20


async def test_nonsense_is_answered_and_others_are_served(dial: Callable[[], Any]) -> None:
    for text in (b"\x00\xff\xfe\r\n\r\n", b"GET /\x80 HTTP/9.9\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
                 head(0).replace(b"Content-Length: 0", b"Content-Length: -1"),
                 head(5, "Transfer-Encoding: chunked") + b"0\r\n\r\n"):  # fmt: skip
        one = await dial()
        await one.send(text)
        status = await one.status()
        assert status is None or 400 <= status < 500, text
    one = await dial()
    await one.send(head(0, method="GET", path="/health"))
    assert await one.status() == 200


async def test_this_machine_too_is_not_believed_who_it_speaks_for(office: Office, dial: Callable[[], Any]) -> None:
    """uvicorn by itself takes `X-Forwarded-For` of everybody on loopback for true."""
    body = b'{"image": "a"}'
    one = await dial()
    await one.send(head(len(body), "X-Forwarded-For: 203.0.113.5") + body)
    assert await one.status() == 201
    assert (await office.audit())[0]["ip"] == "127.0.0.1"


async def upgrade(port: int, path: str, **headers: str) -> int:
    """101, or the code of the refusal."""
    try:
        async with connect(f"ws://127.0.0.1:{port}{path}", additional_headers=headers, proxy=None, open_timeout=20):
            return 101
    except InvalidStatus as refused:
        return refused.response.status_code


async def test_pages_of_others_open_no_stream(office: Office, port: int) -> None:
    """Also with credentials, as a browser would send them along (CSWSH)."""
    for path in ("/v1/events/", LOOSE):
        for origin in ("https://evil.example", "null", "http://127.0.0.1.evil.example", "http://127.0.0.1:1"):
            assert await upgrade(port, path, **OWNER, Origin=origin) == 403, (path, origin)
        assert await upgrade(port, path, **OWNER) == 101
        assert await upgrade(port, path, **OWNER, Origin=f"http://127.0.0.1:{port}") == 101
    office.app.state.settings = Settings(public_url="https://paas.example", origins="https://console.example")
    for origin in ("https://paas.example", "https://console.example"):
        assert await upgrade(port, LOOSE, **OWNER, Origin=origin) == 101
    assert await upgrade(port, LOOSE, **OWNER, Origin="https://evil.example") == 403


async def test_strangers_get_no_stream(port: int) -> None:
    for path in (LOOSE, f"{LOOSE}?token=x&user=admin"):
        assert await upgrade(port, path) == 401


async def test_behind_a_proxy_too_a_key_in_the_query_is_not_logged(
    office: Office, caplog: pytest.LogCaptureFixture
) -> None:
    """uvicorn logs the streams that it opens and those that are refused, with their query (S9)."""
    app = create_app(Settings(proxies="127.0.0.1"), office.db, None, secrets=office.app.state.secrets)
    caller = {"X-Forwarded-For": "203.0.113.7"}
    with caplog.at_level(logging.INFO):
        async with served(app) as port:
            for path in ("/v1/events/", LOOSE):
                assert await upgrade(port, f"{path}?user=admin&token={KEY}", **caller) == 101
            assert await upgrade(port, f"{LOOSE}?user=nobody&token={KEY}", **caller) == 401
    logged = [each.getMessage() for each in caplog.records if "WebSocket" in each.getMessage()]
    assert len(logged) == 3
    assert all(line.startswith("203.0.113.7:0 - ") and "token" not in line for line in logged), logged


async def closed(socket_: ClientConnection) -> tuple[int, str]:
    """The code that the server closes with, and what it said last."""
    said = ""
    try:
        async with asyncio.timeout(20):
            while True:
                said = str(await socket_.recv())
    except ConnectionClosed:
        return socket_.close_code or 0, said


async def test_a_key_has_so_many_streams_and_another_its_own(office: Office, port: int) -> None:
    office.app.state.settings = Settings(limit_streams=3)
    name = fresh("eve")
    who, other = await office.hire(name), await office.hire(fresh("dan"))
    url = f"ws://127.0.0.1:{port}"
    opened = [await connect(f"{url}{LOOSE}", additional_headers=who, proxy=None) for _ in range(3)]
    try:
        await eventually(lambda: office.app.state.watch.count() == 3, "three streams to be open")
        assert await upgrade(port, LOOSE, **who) == 429
        async with connect(f"{url}/v1/events/", additional_headers=who, proxy=None) as fourth:
            code, said = await closed(fourth)
            assert (code, "streams open" in json.loads(said)["data"]["errorMessage"]) == (THROTTLED, True)
        assert await upgrade(port, LOOSE, **other) == 101
        await opened.pop().close()
        await eventually(lambda: office.app.state.watch.count() == 2, "one of them to be gone")
        assert await upgrade(port, LOOSE, **who) == 101
    finally:
        for each in opened:
            await each.close()


async def test_commands_are_counted_by_key(office: Office, port: int) -> None:
    office.app.state.limits = Limits.of(Settings(limit_execs=2), lambda: 0.0)
    container = await office.container((await office.create(name="web"))["uuid"], await office.node(fresh("n")))
    path = f"/api/app/v1/container/{container}/exec/"
    who = await office.hire(fresh("eve"))
    assert [await upgrade(port, path, **who) for _ in range(3)] == [101, 101, 429]
    assert await upgrade(port, path, **await office.hire(fresh("dan"))) == 101


class Silent:
    """A console of which nothing is heard; and the way to it."""

    def __init__(self) -> None:
        self.typed: list[bytes] = []
        self.closed = False

    async def exec(self, _container_id: UUID, _command: Sequence[str]) -> Silent:
        return self

    async def read(self) -> bytes:
        await asyncio.get_running_loop().create_future()
        return b""

    async def write(self, data: bytes) -> None:
        self.typed.append(data)

    async def close(self) -> None:
        self.closed = True


async def test_a_terminal_that_was_left_behind_is_ended(
    office: Office, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert execs.IDLE_SECONDS == 600
    monkeypatch.setattr(execs, "IDLE_SECONDS", 2.0)
    console = Silent()
    monkeypatch.setattr(office.app.state, "logs", console)
    container = await office.container((await office.create(name="web"))["uuid"], await office.node(fresh("n")))
    async with office.db.transaction() as conn:
        seen = codec.dump(codec.OBSERVED, Observed(state=Seen.RUNNING, start_gen=1))
        await conn.execute("UPDATE containers SET seen = $2 WHERE id = $1", UUID(container), seen)
    url = f"ws://127.0.0.1:{port}/v1/container/{container}/exec/"
    async with connect(url, additional_headers=OWNER, proxy=None) as terminal:
        await terminal.send("x")
        code, said = await closed(terminal)
    assert (code, "nothing was typed or written" in said) == (TOO_SLOW, True)
    assert (console.typed, console.closed) == ([b"x"], True)


async def test_a_message_has_an_end(port: int) -> None:
    async with connect(f"ws://127.0.0.1:{port}{LOOSE}", additional_headers=OWNER, proxy=None) as one:
        await one.send("x" * (2 * 1024 * 1024))
        assert (await closed(one))[0] == 1009


async def test_a_flood_of_calls_and_guesses_leaves_others_served(office: Office, port: int, dial: Any) -> None:
    """Sixty connections at once: every answer is one that is due, and the owner's are good (F51)."""
    office.app.state.limits = Limits.of(Settings())
    service = await office.create(name="hooked")
    url = (await office.call("POST", f"{service['resource_uri']}trigger/", json={})).json()["url"]
    wrong = b"GET /api/v1/service/ HTTP/1.1\r\nHost: a\r\nAuthorization: ApiKey admin:wrong\r\n\r\n"
    call = f"POST {url} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n".encode()

    async def ask(text: bytes) -> int | None:
        one = await dial()
        await one.send(text)
        status: int | None = await one.status()
        return status

    good = head(0, method="GET")
    found = await asyncio.gather(*(ask(text) for _ in range(20) for text in (wrong, call, good)))
    assert set(found[0::3]) == {401, 429}
    assert set(found[1::3]) == {409, 429}
    assert set(found[2::3]) == {200}
