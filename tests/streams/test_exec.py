"""Commands in containers over WebSocket, on a real engine (spec 4.14)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection

from tests.e2e.scenario import User, owned, wait_for
from tests.harness.engine import PrivateEngine
from tests.harness.server import TutelaProcess
from tests.streams.client import rest, stream, until
from tests.streams.conftest import EVERYWHERE

pytestmark = pytest.mark.e2e
END = {"type": "exec", "output": "EOF", "streamType": ""}


async def container(user: User) -> str:
    uuid = await asyncio.to_thread(user.run, "web")
    found = await asyncio.to_thread(user.containers, uuid)
    name: str = found[0]["uuid"]
    return name


def output(frames: list[dict[str, Any]]) -> str:
    assert all(each["type"] == "exec" for each in frames), frames
    return "".join(each["output"] for each in frames if each["streamType"] == "stdout")


async def shows(socket: ClientConnection, text: str) -> None:
    seen: list[str] = []

    def enough(each: dict[str, Any]) -> bool:
        seen.append(each["output"])
        return text in "".join(seen)

    await until(socket, enough)


def processes(engine: PrivateEngine, name: str) -> int:
    (found,) = owned(engine, running=True)
    return sum(each[-1] == name for each in engine.client().top(found["Id"])["Processes"])


async def test_a_command_and_its_end(user: User, server: TutelaProcess) -> None:
    uuid = await container(user)
    for query in ("?command=ls", "?&command=ls+%22%2F%22", "/?command=ls%20-la"):
        async with stream(server, f"/v1/container/{uuid}/exec{query}") as socket:
            frames, code = await rest(socket)
        assert code == 1000
        assert frames[-1] == END
        assert "tmp" in output(frames)
    async with stream(server, f"/v1/container/{uuid}/exec/?command=echo+%22a++b%22+c") as socket:
        assert output((await rest(socket))[0]) == "a  b c\r\n"


@EVERYWHERE
async def test_a_shell_by_default_and_what_is_typed(user: User, server: TutelaProcess, engine: PrivateEngine) -> None:
    uuid = await container(user)
    async with stream(server, f"/v1/container/{uuid}/exec/") as socket:
        await socket.send("echo $((6*7))\n")
        await shows(socket, "42")
        await socket.send("tty\necho schön\n")
        await shows(socket, "\r\nschön")
        await socket.send("exit\n")
        frames, code = await rest(socket)
        assert (frames[-1], code) == (END, 1000)
    async with stream(server, f"/v1/container/{uuid}/exec/?command=cat") as socket:
        await socket.send("piped\n")
        await socket.send("\u0004")
        frames, _ = await rest(socket)
    assert output(frames).count("piped") == 2
    assert frames[-1] == END


@EVERYWHERE
async def test_much_output_is_complete(user: User, server: TutelaProcess) -> None:
    uuid = await container(user)
    command = "sh+-c+%22i%3D0%3Bwhile+%5B+%24i+-lt+20000+%5D%3Bdo+echo+%24i%3Bi%3D%24%28%28i%2B1%29%29%3Bdone%22"
    async with stream(server, f"/v1/container/{uuid}/exec/?command={command}") as socket:
        frames, _ = await rest(socket, within=60)
    assert output(frames) == "".join(f"{number}\r\n" for number in range(20_000))


@EVERYWHERE
async def test_nothing_is_left_when_the_client_goes(user: User, server: TutelaProcess, engine: PrivateEngine) -> None:
    uuid = await container(user)
    async with stream(server, f"/v1/container/{uuid}/exec/") as socket:
        await socket.send("echo re''ady; sleep 4321\n")
        await shows(socket, "ready")
        await asyncio.to_thread(
            wait_for, lambda: processes(engine, "sleep 4321") or None, timeout=30, what="sleep to run"
        )
    gone = lambda: (processes(engine, "sleep 4321") == 0 and processes(engine, "sh") == 0) or None  # noqa: E731
    await asyncio.to_thread(wait_for, gone, timeout=30, what="the shell to be hung up on")


async def test_who_types_without_reading_is_held_up_alone(user: User, server: TutelaProcess) -> None:
    uuid = await container(user)
    async with stream(server, f"/v1/container/{uuid}/exec/?command=sleep+100") as stuck:
        typing = asyncio.ensure_future(type_much(stuck))
        async with stream(server, f"/v1/container/{uuid}/exec/?command=echo+free") as socket:
            assert output((await rest(socket))[0]) == "free\r\n"
        typing.cancel()
        await asyncio.gather(typing, return_exceptions=True)


async def type_much(socket: ClientConnection) -> None:
    for _ in range(200):
        await socket.send("x" * 100_000)


async def test_only_in_a_running_container(user: User, server: TutelaProcess) -> None:
    uuid = await container(user)
    async with stream(server, f"/v1/container/{uuid}/exec/?command=%22open") as socket:
        (told,), code = await rest(socket)
    assert (told["type"], code) == ("error", 4400)
    (service,) = user.api.get("/api/v1/service/?state=Running").json["objects"]
    await asyncio.to_thread(user.do, service["uuid"], "stop", wait="Success")
    async with stream(server, f"/v1/container/{uuid}/exec/") as socket:
        (told,), code = await rest(socket)
    assert (told["type"], code) == ("error", 4409)
    assert "Stopped" in told["data"]["errorMessage"]
    async with stream(server, "/v1/container/00000000-0000-4000-8000-000000000000/exec/") as socket:
        (told,), code = await rest(socket)
    assert (told["type"], code) == ("error", 4404)
