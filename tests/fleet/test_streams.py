"""Streams that nodes dial back: who may, who is told, what is bounded, and what is said when a node is away.

That a reader and a command notice no difference to a container of this host is shown in tests/streams.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from uuid import UUID, uuid4

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from agents import frames, stream_frames
from agents.channel_socket import SocketChannel
from agents.dialback import DialBack
from agents.frames import Broken
from agents.newest import SLACK
from agents.stream_frames import StreamKind, StreamRequest
from agents.streams import ContainerStreams, LogLine
from app.fleet import dialbacks
from app.fleet import streams as streams_of_fleet
from app.fleet.dialbacks import DIAL_SECONDS, Dialbacks
from app.fleet.streams import MOST_ASKED, FleetStreams
from domain.assignment import NodeHello
from domain.errors import Conflict, NotAllowed
from domain.node import NodeState
from orchestrator.store import nodes, wake
from orchestrator.store.fleet import Host
from tests.agents.harness import eventually
from tests.conftest import sweep
from tests.e2e.scenario import User
from tests.fleet import plane as planes
from tests.fleet.hosts import JoinedHost, control_plane, echoed, join_token
from tests.fleet.plane import Plane, plane
from tests.harness.engine import PrivateEngine
from tests.harness.images import SLEEPER
from tests.harness.wait import bar
from tests.streams.client import frame, rest, stream
from tests.streams.test_exec import processes, shows

ONE, TWO = uuid4(), uuid4()


def line(number: int, container_id: UUID = ONE, text: str = "") -> LogLine:
    stamp = f"2026-01-01T00:00:00.{number:09}Z"
    return LogLine(container_id=container_id, stream="stdout", timestamp=stamp, text=text or f"line {number}")


class Writer:
    """A node's containers that write for ever, as fast as they are read; and a process that repeats what it is told."""

    def __init__(self) -> None:
        self.made = 0
        self.followed: list[UUID] = []
        self.let_go = 0
        self.owner = ONE
        self.typed: asyncio.Queue[bytes] = asyncio.Queue()
        self.closed = False

    async def logs(self, container_ids: Sequence[UUID], tail: int) -> list[LogLine]:
        return [line(number, self.owner) for number in range(tail)]

    async def follow(self, container_id: UUID, after: str | None) -> AsyncGenerator[Sequence[LogLine], None]:
        self.followed.append(container_id)
        try:
            while True:
                self.made += 1
                yield [line(self.made, container_id, "x" * 60_000)]
        finally:
            self.let_go += 1

    async def exec(self, container_id: UUID, command: Sequence[str]) -> Writer:
        if command[0] == "none":
            raise NotAllowed("there is no such command")
        return self

    async def read(self) -> bytes:
        return await self.typed.get()

    async def write(self, data: bytes) -> None:
        if data == b"wait":
            await asyncio.Event().wait()
        self.typed.put_nowait(b"" if data == b"end" else data)

    async def close(self) -> None:
        self.closed = True


class Node:
    """A joined host with a session at a control plane."""

    def __init__(self, channel: SocketChannel, node_id: UUID, name: str) -> None:
        self.channel, self.node_id, self.name = channel, node_id, name
        self.writer = Writer()
        self.dialback = DialBack(cast(ContainerStreams, self.writer), channel.dial)
        self.asked: list[dict[str, Any]] = []
        channel.asked = self.dialback.asked

    def host(self, at: Plane, container_id: UUID = ONE, state: NodeState = NodeState.DEPLOYED) -> Host:
        return Host(
            container_id=container_id, node_id=self.node_id, name=self.name, state=state, served_by=at.shared.ident
        )

    def deaf(self) -> None:
        """It dials nobody, and remembers what it is asked."""
        self.channel.asked = lambda _name, body: self.asked.append(body)


class Reads(FleetStreams):
    """Over hosts that the test names, where no containers are on record."""

    def __init__(self, asking: Plane, *hosts: Host) -> None:
        super().__init__(asking.db, asking.shared.dialbacks, None)
        self._named = {each.container_id: each for each in hosts}

    async def _hosts(self, container_ids: Sequence[UUID]) -> dict[UUID, Host]:
        return {key: self._named[key] for key in container_ids if key in self._named}


@dataclass(frozen=True)
class Asked:
    """The control plane that is asked, the one that has the node's session, and the node."""

    control: Plane
    holder: Plane
    node: Node


@pytest.fixture
async def control(database_url: str, tmp_path: Path) -> AsyncIterator[Plane]:
    async with plane(database_url, tmp_path) as made:
        yield made


@contextlib.asynccontextmanager
async def node(at: Plane, name: str) -> AsyncIterator[Node]:
    channel = await at.join(name)
    registration = await channel.register(NodeHello(name=name, cluster_id=None, engine=planes.engine(name)))
    made = Node(channel, registration.node_id, name)
    try:
        yield made
    finally:
        await made.dialback.close()
        await channel.close()


@pytest.fixture(params=["the session here", "the session elsewhere"])
async def asked(
    request: pytest.FixtureRequest, control: Plane, database_url: str, tmp_path: Path
) -> AsyncIterator[Asked]:
    """A control plane to ask, and a node whose session it or another one has."""
    async with contextlib.AsyncExitStack() as stack:
        holder = control
        if request.param == "the session elsewhere":
            holder = await stack.enter_async_context(plane(database_url, tmp_path))
        made = await stack.enter_async_context(node(holder, "n1"))
        yield Asked(control, holder, made)


def reads(asked: Asked) -> Reads:
    return Reads(asked.control, asked.node.host(asked.holder))


async def test_ten_thousand_lines_are_complete_and_in_order(asked: Asked) -> None:
    began = time.monotonic()
    found = await reads(asked).logs([ONE], 10_000)
    assert [each.text for each in found] == [f"line {number}" for number in range(10_000)]
    assert time.monotonic() - began < bar(10)


async def test_who_never_reads_stops_one_writer_and_lets_go_of_it(asked: Asked) -> None:
    """The window is WINDOW pieces; the session and other streams do not notice."""
    streams, writer = reads(asked), asked.node.writer
    stuck = streams.follow(ONE, None)
    await anext(stuck)
    made = 0
    while made != writer.made:
        made = writer.made
        assert len(await streams.logs([ONE], 100)) == 100
    assert writer.made <= 2 * stream_frames.WINDOW
    for _ in range(50):
        await anext(stuck)
    assert writer.made <= 50 + 2 * stream_frames.WINDOW
    await stuck.aclose()
    await eventually(lambda: writer.let_go == 1, "the follow to end on the node")


async def test_a_command_is_typed_to_read_and_ended(asked: Asked) -> None:
    streams, writer = reads(asked), asked.node.writer
    with pytest.raises(NotAllowed, match="no such command"):
        await streams.exec(ONE, ["none"])
    console = await streams.exec(ONE, ["cat"])
    for number in range(20):
        await console.write(b"%d" % number)
    assert [await console.read() for _ in range(20)] == [b"%d" % number for number in range(20)]
    await console.write(b"y" * 200_000)
    got = b""
    while len(got) < 200_000:
        got += await console.read()
    assert got == b"y" * 200_000
    await console.write(b"end")
    assert await console.read() == b""
    await console.close()
    await eventually(lambda: writer.closed, "the process to be let go")


async def test_keystrokes_that_are_not_read_wait_and_hold_up_nobody(asked: Asked) -> None:
    streams, writer = reads(asked), asked.node.writer
    console = await streams.exec(ONE, ["cat"])
    typing = asyncio.ensure_future(type_much(console))
    assert len(await streams.logs([ONE], 1000)) == 1000
    await asyncio.wait({typing}, timeout=0.5)
    assert not typing.done()
    typing.cancel()
    await asyncio.gather(typing, return_exceptions=True)
    await console.close()
    await eventually(lambda: writer.closed, "the process to be let go")


async def type_much(console: Any) -> None:
    for _ in range(1000):
        await console.write(b"wait")


async def ticket_of(control: Plane, victim: Node) -> tuple[str, asyncio.Task[Any]]:
    """The ticket of a stream that the control plane waits for, and its wait."""
    victim.deaf()
    request = StreamRequest(kind=StreamKind.LOGS, containers=(ONE,), tail=1)
    waiting = asyncio.create_task(control.shared.dialbacks.open(control.db, victim.host(control), request))
    await eventually(lambda: victim.asked, "the node to be asked")
    return str(victim.asked[-1]["ticket"]), waiting


async def test_a_ticket_serves_its_node_and_once(control: Plane) -> None:
    async with node(control, "n1") as victim, node(control, "n2") as hostile:
        ticket, waiting = await ticket_of(control, victim)
        for wrong in (ticket, "0" * 32, ""):
            with pytest.raises(NotAllowed, match="not waited for"):
                await hostile.channel.dial(control.url, frames.STREAM_PATH + wrong)
        socket = await victim.channel.dial(control.url, frames.STREAM_PATH + ticket)
        served = await waiting
        with pytest.raises(NotAllowed, match="not waited for"):
            await victim.channel.dial(control.url, frames.STREAM_PATH + ticket)
        assert frames.read(stream_frames.REQUEST, frames.parse(await socket.recv())).containers == (ONE,)
        await served.close()
        await socket.close()
        with pytest.raises(NotAllowed, match="not waited for"):
            await victim.channel.dial(control.url, frames.STREAM_PATH + ticket)


async def test_a_node_tells_of_no_containers_but_those_it_was_asked_for(control: Plane) -> None:
    async with node(control, "n1") as hostile:
        hostile.writer.owner = TWO
        with pytest.raises(Conflict, match="no log"):
            await Reads(control, hostile.host(control)).logs([ONE], 10)
    with pytest.raises(Broken):
        stream_frames.read_lines({"lines": [[str(TWO), "stdout", "t", "x"]]}, (ONE,))


@pytest.mark.parametrize("wrong", [{"lines": 3}, {"lines": [[1]]}, {"lines": [["x", "y", "z", "t"]]}, {}])
def test_lines_that_are_none(wrong: dict[str, Any]) -> None:
    with pytest.raises(Broken):
        stream_frames.read_lines(wrong, (ONE,))


async def test_a_node_that_does_not_answer_is_not_waited_for_long(
    control: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialbacks, "DIAL_SECONDS", DIAL_SECONDS)
    async with node(control, "n1") as away:
        away.deaf()
        streams = Reads(control, away.host(control))
        for call in (streams.logs([ONE], 10), streams.exec(ONE, ["ls"])):
            began = time.monotonic()
            with pytest.raises(Conflict, match="node n1 did not answer within 2 s"):
                await call
            assert 1.5 < time.monotonic() - began < bar(4)
        began = time.monotonic()
        with pytest.raises(Conflict, match="node n1 is Unreachable"):
            await Reads(control, away.host(control, state=NodeState.UNREACHABLE)).logs([ONE], 10)
        assert time.monotonic() - began < bar(1)


async def test_the_lines_of_the_others_are_told_with_a_word_about_those_that_are_missing(control: Plane) -> None:
    async with node(control, "n1") as here, node(control, "n2") as away:
        lost = away.host(control, TWO, NodeState.UNREACHABLE)
        *lines, notice = await Reads(control, here.host(control), lost).logs([ONE, TWO], 10)
        assert len(lines) == 10
        assert notice.text == (
            "Tutela: lines are missing: node n2 is Unreachable: it is read again once its agent is back"
        )
        assert notice.container_id not in {ONE, TWO}


class Counted(LogLine):
    """A line of which it is known how many there are."""

    alive = 0

    def __post_init__(self) -> None:
        Counted.alive += 1

    def __del__(self) -> None:
        Counted.alive -= 1


def counted(number: int, container_id: UUID) -> LogLine:
    made = line(number, container_id)
    return Counted(container_id=container_id, stream=made.stream, timestamp=made.timestamp, text=made.text)


class Many(FleetStreams):
    """Over many hosts, each with a container that writes and one that wrote once; `cut` ones say half and are gone."""

    def __init__(self, hosts: int, cut: int = 0, seconds: float = 0.002) -> None:
        super().__init__(cast(Any, None), Dialbacks(uuid4()), None)
        self.keys = [(uuid4(), uuid4()) for _ in range(hosts)]
        self.asked = self.most_asked = self.most_lines = 0
        self._cut = {key for key, _ in self.keys[:cut]}
        self._seconds = seconds

    async def _hosts(self, container_ids: Sequence[UUID]) -> dict[UUID, Host]:
        out = {}
        for number, pair in enumerate(self.keys):
            node_id = uuid4()
            for key in pair:
                out[key] = Host(
                    container_id=key, node_id=node_id, name=f"n{number}", state=NodeState.DEPLOYED, served_by=None
                )
        return out

    async def _read(self, host: Host, request: StreamRequest) -> AsyncGenerator[Sequence[LogLine], None]:
        self.asked += 1
        self.most_asked = max(self.most_asked, self.asked)
        busy, quiet = request.containers
        try:
            await asyncio.sleep(self._seconds)
            yield [counted(0, quiet)]
            for at in range(0, request.tail, 500):
                if busy in self._cut and at >= request.tail // 2:
                    raise ConnectionError("the connection to the node was cut")
                yield [counted(1 + number, busy) for number in range(at, at + 500)]
                self.most_lines = max(self.most_lines, Counted.alive)
                await asyncio.sleep(0)
        finally:
            self.asked -= 1

    def all(self) -> list[UUID]:
        return [key for pair in self.keys for key in pair]


async def test_the_lines_of_many_hosts_take_no_more_memory_than_those_that_are_wanted() -> None:
    """And a few hosts are asked at a time; who follows knows of each container where it is."""
    many, tail, before = Many(60), 2000, Counted.alive
    found = await many.logs(many.all(), tail)
    assert many.most_asked == MOST_ASKED
    assert many.most_lines - before <= tail + SLACK + len(many.all()) + MOST_ASKED * 500
    assert [each.timestamp for each in found] == sorted(each.timestamp for each in found)
    assert len(found) <= tail + len(many.all())
    stamps = sorted([line(number).timestamp for number in range(tail - 100, tail + 1)] * 60)[-tail:]
    assert [each.timestamp for each in found[-tail:]] == stamps
    last = {each.container_id: each.timestamp for each in found}
    for busy, quiet in many.keys:
        assert (last[busy], last[quiet]) == (line(tail).timestamp, line(0).timestamp)


async def test_of_many_hosts_that_are_cut_some_are_named_and_what_they_said_counts() -> None:
    many = Many(40, cut=30)
    *lines, notice = await many.logs(many.all(), 1000)
    assert notice.text.startswith("Tutela: lines are missing: node n0: the connection to the node was cut; node n1: ")
    assert notice.text.endswith("; 20 nodes more")
    assert notice.text.count("cut") == 10
    last = {each.container_id: each.timestamp for each in lines}
    for number, (busy, _) in enumerate(many.keys):
        assert last[busy] == line(500 if number < 30 else 1000).timestamp, "where a follower goes on"


async def test_hosts_that_take_too_long_together_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams_of_fleet, "ALL_SECONDS", 1.5)
    many, began = Many(3 * MOST_ASKED, seconds=1.0), time.monotonic()
    *lines, notice = await many.logs(many.all(), 500)
    assert time.monotonic() - began < bar(3)
    assert len({each.container_id for each in lines}) >= 2 * MOST_ASKED, "the first ones are told"
    assert "it took too long" in notice.text
    many = Many(2, seconds=5.0)
    with pytest.raises(Conflict, match="n0: it took too long; node n1: it took too long"):
        await many.logs(many.all(), 500)


async def test_streams_of_a_node_that_is_taken_out_end(control: Plane) -> None:
    async with node(control, "n1") as victim:
        ticket, waiting = await ticket_of(control, victim)
        socket = await victim.channel.dial(control.url, frames.STREAM_PATH + ticket)
        await waiting
        async with control.db.transaction() as conn:
            await nodes.terminate(conn, victim.node_id, await conn.fetchval("SELECT now()"))
            await wake.revoked(conn, victim.node_id)
        async with asyncio.timeout(20):
            await ended(socket)
        assert socket.close_code == frames.REVOKED_CODE


async def ended(socket: ClientConnection) -> None:
    with contextlib.suppress(ConnectionClosed):
        async for _ in socket:
            pass


@pytest.fixture
def hosts(engine: PrivateEngine, own_engine: PrivateEngine, database_url: str) -> Iterator[Any]:
    """Two control planes, the second with an agent of its own; a host that joined at the second."""
    # One image on both, which only a registry or a copy makes the same.
    own_engine.client().load_image(b"".join(engine.client().get_image(SLEEPER)))
    asked = control_plane(database_url)
    other = control_plane(database_url, docker_host=engine.base_url, roles="api,orchestrator,agent")
    host = JoinedHost("n2", own_engine.base_url)
    try:
        asked.start()
        shutil.copy(asked.state_dir / "admin-key.json", other.state_dir)
        other.start()
        host.start(other, join_token(database_url), seen_by=asked)
        yield asked, other, host
    finally:
        for each in (host, other, asked):
            each.close()
        sweep(engine)


@pytest.mark.e2e
@pytest.mark.timeout(300)
async def test_two_hosts_are_read_from_a_control_plane_that_has_neither_session(
    hosts: Any, engine: PrivateEngine, own_engine: PrivateEngine
) -> None:
    """One is the other control plane's own host, one joined at its door; then the latter goes away."""
    asked, _, host = hosts
    user = User(asked)
    uuid = await asyncio.to_thread(start_two, user)
    on = {where(user, each["node"]): each["uuid"] for each in user.containers(uuid)}
    assert on.keys() == {"local", "n2"}
    path = f"/api/v1/service/{uuid}/logs/"
    await eventually(lambda: user.api.get(path).json["logs"].count("begun") == 2, "both to have begun")
    for container in on.values():
        assert await echoed(asked, container) == ("there\r\nEOF", 1000)
    async with stream(asked, f"/v1/service/{uuid}/logs/") as reader:
        got = [await frame(reader) for _ in range(2)]
        assert {each["source"] for each in got} == {"web-1", "web-2"}
        async with stream(asked, f"/v1/container/{on['n2']}/exec/") as socket:
            await socket.send("echo re''ady; sleep 4321\n")
            await shows(socket, "ready")
            await eventually(lambda: processes(own_engine, "sleep 4321"), "the command to run")
            await asyncio.to_thread(host.stop)
            assert not processes(own_engine, "sleep 4321")
        began = time.monotonic()
        answer = await asyncio.to_thread(user.api.get, path)
        assert answer.json["logs"].count("begun") == 1
        assert re.search("lines are missing: node n2 (did not answer within 2 s|is Unreachable)", answer.json["logs"])
        answer = await asyncio.to_thread(user.api.get, f"/api/v1/container/{on['n2']}/logs/")
        assert answer.status == 409, answer.text
        assert "node n2" in answer.text
        assert time.monotonic() - began < bar(8)
        for kind in ("logs", "exec"):
            began = time.monotonic()
            async with stream(asked, f"/v1/container/{on['n2']}/{kind}/") as socket:
                (told,), code = await rest(socket)
            assert (told["type"], code) == ("error", 4409)
            assert "node n2" in told["data"]["errorMessage"]
            assert time.monotonic() - began < bar(5)
        async with stream(asked, f"/v1/service/{uuid}/logs/?follow=false") as socket:
            got, code = await rest(socket)
        assert ([each["log"][:8] for each in got], code) == (["begun\n", "Tutela: "], 1000)
    async with stream(asked, f"/v1/container/{on['local']}/exec/") as socket:
        await socket.send("echo re''ady; sleep 4321\n")
        await shows(socket, "ready")
        await eventually(lambda: processes(engine, "sleep 4321"), "the command to run")
        await asyncio.to_thread(asked.kill)
        await eventually(lambda: not processes(engine, "sleep 4321"), "the command to be hung up on", within=30)


def start_two(user: User) -> str:
    command = "sh -c 'echo begun; exec sleep 1000'"
    uuid: str = user.run("web", target=2, deployment_strategy="HIGH_AVAILABILITY", run_command=command)
    return uuid


def where(user: User, node_uri: str) -> str:
    found: dict[str, str] = user.api.get(node_uri).json
    return found["nickname"] or found["external_fqdn"]
