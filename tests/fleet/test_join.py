"""Hosts that join: whom they believe, what they tell, who is let in, and who is put out."""

from __future__ import annotations

import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from websockets.asyncio.server import ServerConnection, serve

from agents import credentials, enrol, frames
from agents.channel_socket import SocketChannel
from agents.dial import agent_url, client_context, open_socket
from agents.frames import Join
from app.fleet import door
from app.fleet.authority import Authority, open_authority
from app.secretbox import SecretBox
from domain.assignment import Beat, NodeHello
from domain.errors import Conflict, DomainError, Invalid, NotAllowed
from domain.node import NodeState
from orchestrator.store import fleet, nodes, wake
from orchestrator.store.db import Database
from tests.agents.harness import eventually
from tests.fleet.plane import Plane, engine, plane
from tests.harness.postgres import TestPostgres
from tests.harness.server import free_port
from tests.harness.wait import bar


@pytest.fixture
async def control(database_url: str, tmp_path: Path) -> AsyncIterator[Plane]:
    async with plane(database_url, tmp_path) as made:
        yield made


class Listener:
    """Somebody else's server at the door: it keeps all that it is told. `shown` is the certificate it claims."""

    def __init__(self, context: ssl.SSLContext, shown: str) -> None:
        self.heard: list[str | bytes] = []
        self._context, self._shown = context, shown
        self.port = free_port()

    async def __aenter__(self) -> Listener:
        self._server = await serve(self._converse, "127.0.0.1", self.port, ssl=self._context)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _converse(self, socket: ServerConnection) -> None:
        async for text in socket:
            self.heard.append(text)
            number = frames.parse(text)["id"]
            await socket.send(frames.answer(number, frames.AUTHORITY, frames.AuthorityFound(certificate=self._shown)))

    @property
    def url(self) -> str:
        return f"wss://127.0.0.1:{self.port}"


async def strangers(postgres: TestPostgres, tmp_path: Path) -> Authority:
    """The authority of another installation."""
    db = await Database.open(await postgres.fresh(), size=2)
    try:
        return await open_authority(db, SecretBox.open(tmp_path / "stranger"))
    finally:
        await db.close()


async def attempt(url: str, token: str, folder: Path) -> None:
    """A join as the command does it."""
    word = enrol.read_token(token)
    trusted = await enrol.authority(url, word)
    asked = Join(secret=word.secret, name="n1", request=credentials.request(folder), engine=None)
    await enrol.join(url, word, trusted, asked)


async def test_a_server_with_another_authority_is_not_told_the_secret(
    control: Plane, postgres: TestPostgres, tmp_path: Path
) -> None:
    other, token = await strangers(postgres, tmp_path), await control.token()
    async with Listener(other.server_context(), other.pem) as listener:
        with pytest.raises(NotAllowed, match="is not the control plane that made this token"):
            await attempt(listener.url, token, tmp_path / "n1")
    assert listener.heard
    assert enrol.read_token(token).secret not in "".join(map(str, listener.heard))


async def test_a_server_that_only_shows_the_right_authority_is_not_told_the_secret(
    control: Plane, postgres: TestPostgres, tmp_path: Path
) -> None:
    other, token = await strangers(postgres, tmp_path), await control.token()
    async with Listener(other.server_context(), control.authority.pem) as listener:
        with pytest.raises(ConnectionError, match="not a control plane of this installation"):
            await attempt(listener.url, token, tmp_path / "n1")
    assert enrol.read_token(token).secret not in "".join(map(str, listener.heard))


async def test_a_node_cannot_pass_for_a_control_plane(control: Plane, tmp_path: Path) -> None:
    await control.join("n1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "n1" / credentials.CERTIFICATE, tmp_path / "n1" / credentials.KEY)
    async with Listener(context, control.authority.pem) as listener:
        with pytest.raises(ConnectionError, match="not a control plane of this installation"):
            await attempt(listener.url, await control.token(), tmp_path / "n2")
    assert len(listener.heard) == 1


async def test_a_token_works_once(control: Plane) -> None:
    token = await control.token()
    await control.join("n1", token)
    with pytest.raises(NotAllowed, match="unknown, used up or expired"):
        await control.join("n2", token)
    with pytest.raises(NotAllowed, match="unknown, used up or expired"):
        await control.join("n2", token[:-1] + ("0" if token[-1] != "0" else "1"))
    many = await control.token(uses=2)
    await control.join("n2", many)
    await control.join("n3", many)
    with pytest.raises(NotAllowed):
        await control.join("n4", many)


async def test_wrong_tokens_are_slowed_down_where_they_come_from(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "FAILED_JOINS", 2)  # a minute: the next is due after thirty seconds
    async with plane(database_url, tmp_path) as control:
        good = await control.token()
        wrong = good[:-1] + ("0" if good[-1] != "0" else "1")
        for _ in range(2):
            with pytest.raises(NotAllowed, match="unknown, used up or expired"):
                await control.join("n1", wrong)
        for token in (wrong, good):
            with pytest.raises(NotAllowed, match="too many wrong tokens came from this address: try again in"):
                await control.join("n1", token)


async def test_an_expired_token_is_refused(control: Plane) -> None:
    token = await control.token()
    async with control.db.transaction() as conn:
        await conn.execute("UPDATE join_tokens SET expires_at = now() - interval '1 s'")
    with pytest.raises(NotAllowed, match="unknown, used up or expired"):
        await control.join("n1", token)


async def test_a_host_that_lost_the_answer_asks_again_and_is_the_same_node(control: Plane, tmp_path: Path) -> None:
    token = await control.token()
    await control.join("n1", token)
    first = credentials.load(tmp_path / "n1")
    await control.join("n1", token)
    await control.join("n1", await control.token())
    again = credentials.load(tmp_path / "n1")
    assert first is not None
    assert again is not None
    assert first.node_id == again.node_id
    async with control.db.read() as conn:
        assert len(await nodes.everyone(conn)) == 1


async def test_names_and_engines_are_not_shared(control: Plane, tmp_path: Path) -> None:
    await control.join("n1")
    with pytest.raises(Conflict, match="there is a node named n1 already"):
        await control.join("n1", folder=tmp_path / "elsewhere")
    with pytest.raises(DomainError, match="name: must be"):
        await control.join("n 2", folder=tmp_path / "n2")


async def test_what_is_stored_is_for_the_owner_only(control: Plane, tmp_path: Path) -> None:
    await control.join("n1")
    modes = {each.name: each.stat().st_mode & 0o777 for each in (tmp_path / "n1").iterdir()}
    assert set(modes.values()) == {0o600}
    assert {credentials.KEY, credentials.CERTIFICATE, credentials.JOINED} <= modes.keys()
    async with control.db.read() as conn:
        row = await fleet.authority(conn)
        stored = str(await conn.fetch("SELECT * FROM join_tokens"))
    assert row is not None
    assert b"PRIVATE" not in row.sealed_key
    assert enrol.read_token(await control.token()).secret not in stored


async def test_a_certificate_of_another_installation_is_refused(
    control: Plane, postgres: TestPostgres, tmp_path: Path
) -> None:
    other = await strangers(postgres, tmp_path)
    channel = await control.join("n1")
    kept = credentials.load(tmp_path / "n1")
    assert kept is not None
    issued = other.issue(credentials.request(tmp_path / "n1"), kept.node_id)
    credentials.store_certificate(tmp_path / "n1", issued)
    with pytest.raises(ConnectionError):
        await channel.register(NodeHello(name="n1", cluster_id=None, engine=engine("n1")))
    await channel.close()


@pytest.mark.parametrize("path", [frames.SESSION_PATH, "/stream/x", "/api/v1/node/", "/"])
async def test_without_a_certificate_there_is_nothing_but_joining(control: Plane, path: str) -> None:
    with pytest.raises(ConnectionError, match=r"40[14]"):
        await open_socket(control.url, path, client_context(control.authority.pem))


async def test_a_certificate_of_a_node_that_never_was_is_refused(control: Plane, tmp_path: Path) -> None:
    channel = await control.join("n1")
    forged = control.authority.issue(credentials.request(tmp_path / "n1"), uuid4())
    credentials.store_certificate(tmp_path / "n1", forged)
    with pytest.raises(NotAllowed, match="taken out"):
        await channel.register(NodeHello(name="n1", cluster_id=None, engine=engine("n1")))
    await channel.close()


async def test_a_node_that_is_taken_out_is_cut_off_within_a_second(control: Plane) -> None:
    """Also when it has no call open, so that nothing would be refused."""
    channel = await control.join("n1")
    registration = await channel.register(NodeHello(name="n1", cluster_id=None, engine=engine("n1")))
    began = time.monotonic()
    await take_out(control, channel, registration.node_id)
    assert time.monotonic() - began < bar(1)
    with pytest.raises(NotAllowed, match="taken out"):
        await channel.register(NodeHello(name="n1", cluster_id=None, engine=engine("n1")))
    await channel.close()


async def take_out(control: Plane, channel: SocketChannel, node_id: UUID) -> None:
    async with control.db.transaction() as conn:
        await nodes.terminate(conn, node_id, await conn.fetchval("SELECT now()"))
        await wake.revoked(conn, node_id)
    await eventually(lambda: channel.url is None, "the session to end", within=20)


async def test_the_certificate_is_renewed_over_the_session(control: Plane, tmp_path: Path) -> None:
    channel = await control.join("n1")
    await channel.register(NodeHello(name="n1", cluster_id=None, engine=engine("n1")))
    before = (tmp_path / "n1" / credentials.CERTIFICATE).read_text()
    renewed = await channel.renew(credentials.request(tmp_path / "n1"))
    assert renewed != before
    credentials.store_certificate(tmp_path / "n1", renewed)
    await channel.register(NodeHello(name="n1", cluster_id=None, engine=engine("n1")))
    half, end = credentials.half_life(tmp_path / "n1")
    assert 40 < (end - half).days < 50
    await channel.close()


async def test_a_name_of_a_node_that_was_taken_out_is_free_again(control: Plane, tmp_path: Path) -> None:
    channel = await control.join("n1")
    registration = await channel.register(NodeHello(name="n1", cluster_id=None, engine=engine("n1")))
    await take_out(control, channel, registration.node_id)
    await channel.close()
    credentials.forget(tmp_path / "n1")
    again = await control.join("n1")
    fresh = await again.register(NodeHello(name="n1", cluster_id=None, engine=engine("n1")))
    assert fresh.node_id != registration.node_id
    await again.close()
    async with control.db.read() as conn:
        assert (await nodes.get(conn, fresh.node_id)).state is NodeState.DEPLOYED


async def test_a_beat_for_another_node_is_refused(control: Plane) -> None:
    one, two = await control.join("n1"), await control.join("n2")
    await one.register(NodeHello(name="n1", cluster_id=None, engine=engine("n1")))
    other = await two.register(NodeHello(name="n1", cluster_id=None, engine=engine("n2")))
    async with control.db.read() as conn:
        assert (await nodes.get(conn, other.node_id)).name == "n2"
    with pytest.raises(NotAllowed, match="for itself"):
        await one.beat(Beat(node_id=other.node_id, session=other.session, engine_up=True))
    await one.close()
    await two.close()


def test_what_people_type_for_the_door() -> None:
    assert agent_url("host") == "wss://host:8801"
    assert agent_url("10.0.0.1:9000") == "wss://10.0.0.1:9000"
    assert agent_url("wss://[::1]:8801/") == "wss://[::1]:8801"
    for wrong in ("http://host:8800", "wss://host/x", "wss://", "host:port"):
        with pytest.raises(Invalid, match="agents' door"):
            agent_url(wrong)
    with pytest.raises(Invalid, match="copy all of it"):
        enrol.read_token("TUTELA-1-abc")
