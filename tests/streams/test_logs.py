"""Logs over WebSocket, on a real engine (spec 4.13)."""

from __future__ import annotations

import asyncio
import os
import signal
import time

import pytest

from tests.e2e.scenario import User, owned, wait_for
from tests.harness.engine import PrivateEngine
from tests.harness.server import TutelaProcess
from tests.streams.client import frame, key_of, rest, stream, text_of, until
from tests.streams.conftest import EVERYWHERE

pytestmark = pytest.mark.e2e
COUNT = "i=0; while [ $i -lt {n} ]; do echo line $i; i=$((i+1)); done"
THEN_WAIT = "exec sleep 1000"
WHEN_TOLD = "echo begun; while [ ! -e /tmp/go ]; do sleep 0.1; done"
"""Who has read the first line follows from there on. Then the container goes on, not some seconds after its start."""


def script(text: str) -> str:
    return f'sh -c "{text}"'


async def run(user: User, name: str, text: str, **more: object) -> str:
    uuid: str = await asyncio.to_thread(user.run, name, run_command=script(text), **more)
    return uuid


def go_on(engine: PrivateEngine) -> None:
    """Tell the one container that waits (WHEN_TOLD)."""
    (found,) = owned(engine, running=True)
    client = engine.client()
    client.exec_start(client.exec_create(found["Id"], ["mkdir", "/tmp/go"])["Id"])


async def container_of(user: User, uuid: str, number: int = 0) -> str:
    found = await asyncio.to_thread(user.containers, uuid)
    name: str = found[number]["uuid"]
    return name


async def test_the_tail_of_a_container_and_of_a_service(user: User, server: TutelaProcess) -> None:
    uuid = await run(user, "web", "echo one; echo two; echo bad >&2; " + THEN_WAIT)
    container = await container_of(user, uuid)

    async def frames(path: str) -> tuple[list[dict[str, object]], int]:
        async with stream(server, path) as socket:
            return await rest(socket)

    await asyncio.to_thread(wait_for, lambda: logged(user, uuid, 3), timeout=30, what="three lines")
    got, code = await frames(f"/v1/container/{container}/logs/?follow=false")
    assert code == 1000
    assert [each["log"] for each in got if each["streamType"] == "stdout"] == ["one\n", "two\n"]
    assert [each["log"] for each in got if each["streamType"] == "stderr"] == ["bad\n"]
    for each in got:
        assert set(each) == {"type", "log", "streamType", "timestamp"}
        assert each["type"] == "log"
        assert isinstance(each["timestamp"], int)
        assert abs(each["timestamp"] - time.time()) < 60
    got, code = await frames(f"/v1/service/{uuid}/logs?follow=False&tail=2")
    assert (len(got), code) == (2, 1000)
    assert {each["source"] for each in got} == {"web-1"}
    got, code = await frames(f"//v1//container/{container}/logs/?follow=false&tail=0")
    assert (got, code) == ([], 1000)
    got, code = await frames(f"/v1/container/{container}/logs/?tail=many")
    assert code == 4400
    assert "tail" in got[0]["data"]["errorMessage"]  # type: ignore[index]


def logged(user: User, uuid: str, lines: int) -> bool | None:
    text: str = user.api.get(f"/api/v1/service/{uuid}/logs/").json["logs"]
    return text.count("\n") >= lines or None


@EVERYWHERE
async def test_ten_thousand_lines_arrive_complete_and_in_order(
    user: User, server: TutelaProcess, engine: PrivateEngine
) -> None:
    uuid = await run(user, "writer", f"{WHEN_TOLD}; {COUNT.format(n=10_000)}; {THEN_WAIT}")
    container = await container_of(user, uuid)
    wanted = [f"line {number}\n" for number in range(10_000)]
    async with (
        stream(server, f"/v1/container/{container}/logs/") as first,
        stream(server, f"/v1/service/{uuid}/logs/?tail=10000") as second,
    ):
        for socket in (first, second):
            assert await text_of(socket, 1) == ["begun\n"]
        await asyncio.to_thread(go_on, engine)
        for got in await asyncio.gather(text_of(first, 10_000), text_of(second, 10_000)):
            assert got == wanted
    async with stream(server, f"/v1/container/{container}/logs/?tail=10000&follow=false") as socket:
        assert [each["log"] for each in (await rest(socket))[0]] == wanted


@EVERYWHERE
async def test_lines_that_are_there_and_lines_that_come_meet_without_a_gap(user: User, server: TutelaProcess) -> None:
    text = "i=0; while :; do echo line $i; i=$((i+1)); [ $((i%50)) = 0 ] && sleep 0.01; done"
    uuid = await run(user, "writer", text)
    container = await container_of(user, uuid)
    for _ in range(5):
        async with stream(server, f"/v1/container/{container}/logs/?tail=20") as socket:
            numbers = [int(each.split()[1]) for each in await text_of(socket, 500)]
        assert numbers == list(range(numbers[0], numbers[0] + 500))


@EVERYWHERE
async def test_who_follows_hears_no_old_line_of_a_container_that_is_not_in_the_tail(
    user: User, server: TutelaProcess, engine: PrivateEngine
) -> None:
    text = "echo one; echo two; while [ ! -e /tmp/go ]; do sleep 0.1; done; echo three; " + THEN_WAIT
    uuid = await run(user, "web", text, target=2)
    await asyncio.to_thread(wait_for, lambda: logged(user, uuid, 4), timeout=30, what="four lines")
    async with stream(server, f"/v1/service/{uuid}/logs/?tail=1") as socket:
        assert await text_of(socket, 1) == ["two\n"]
        client = engine.client()
        for found in owned(engine, running=True):
            client.exec_start(client.exec_create(found["Id"], ["mkdir", "/tmp/go"])["Id"])
        got = [await frame(socket) for _ in range(2)]
        assert {each["source"]: each["log"] for each in got} == {"web-1": "three\n", "web-2": "three\n"}


@EVERYWHERE
async def test_a_service_is_followed_over_scaling_and_restarts(
    user: User, server: TutelaProcess, engine: PrivateEngine
) -> None:
    text = "echo begun; trap 'echo done; exit 0' TERM; while :; do sleep 0.1; done"
    uuid = await run(user, "web", text, autorestart="ALWAYS")
    async with stream(server, f"/v1/service/{uuid}/logs/") as socket:
        (first,) = await until(socket, lambda each: True)
        assert (first["source"], first["log"]) == ("web-1", "begun\n")
        await asyncio.to_thread(user.patch, uuid, target_num_containers=2, wait="Success")
        assert (await frame(socket))["source"] == "web-2"
        (second,) = [each for each in owned(engine, running=True) if "web-2" in each["Names"][0]]
        os.kill(engine.pid_of(second["Id"]), signal.SIGKILL)
        again = await frame(socket)
        assert (again["source"], again["log"]) == ("web-2", "begun\n")
        engine.client().remove_container(second["Id"], force=True)
        anew = await frame(socket)
        assert (anew["source"], anew["log"]) == ("web-2", "begun\n")
        await asyncio.to_thread(user.patch, uuid, target_num_containers=1, wait="Success")
        gone = await frame(socket)
        assert (gone["source"], gone["log"]) == ("web-2", "done\n")
        await asyncio.to_thread(user.do, uuid, "redeploy", wait="Success")
        got = await until(socket, lambda each: each["log"] == "begun\n")
        assert [each["log"] for each in got] == ["done\n", "begun\n"]
        await asyncio.to_thread(user.do, uuid, "terminate", wait="Success")
        got, code = await rest(socket)
        assert ([each["log"] for each in got], code) == (["done\n"], 1000)


async def test_a_container_is_followed_over_stop_and_start(user: User, server: TutelaProcess) -> None:
    uuid = await run(user, "web", "echo begun; trap 'echo done; exit 0' TERM; while :; do sleep 0.1; done")
    container = await container_of(user, uuid)
    async with stream(server, f"/v1/container/{container}/logs/") as socket:
        assert (await frame(socket))["log"] == "begun\n"
        await asyncio.to_thread(user.do, uuid, "stop", wait="Success")
        assert (await frame(socket))["log"] == "done\n"
        await asyncio.to_thread(user.do, uuid, "start", wait="Success")
        assert (await frame(socket))["log"] == "begun\n"
        await asyncio.to_thread(user.do, uuid, "terminate", wait="Success")
        got, code = await rest(socket)
        assert ([each["log"] for each in got], code) == (["done\n"], 1000)


async def test_logs_go_on_when_the_engine_was_restarted(
    user: User, server: TutelaProcess, engine: PrivateEngine
) -> None:
    uuid = await run(user, "web", "echo begun; " + THEN_WAIT, autorestart="ALWAYS")
    async with stream(server, f"/v1/service/{uuid}/logs/") as socket:
        assert (await frame(socket))["log"] == "begun\n"
        engine.kill()
        engine.restart()
        assert (await frame(socket, within=60))["log"] == "begun\n"


@EVERYWHERE
@pytest.mark.slow
async def test_who_never_reads_slows_nobody(user: User, server: TutelaProcess, engine: PrivateEngine) -> None:
    """Some 7 MB, less than the engine keeps in one file: what it has thrown away nobody can read any more."""
    lines, line = 30_000, "x" * 200
    text = f"{WHEN_TOLD}; i=0; while [ $i -lt {lines} ]; do echo $i {line}; i=$((i+1)); done; {THEN_WAIT}"
    uuid = await run(user, "writer", text)
    container = await container_of(user, uuid)
    before = memory(server)
    async with (
        stream(server, f"/v1/container/{container}/logs/", unread=True),
        stream(server, f"/v1/service/{uuid}/logs/", unread=True),
        stream(server, f"/v1/service/{uuid}/logs/") as reader,
    ):
        assert await text_of(reader, 1) == ["begun\n"]
        await asyncio.to_thread(go_on, engine)
        got = await text_of(reader, lines, within=120)
        assert [int(each.split()[0]) for each in got] == list(range(lines))
        assert memory(server) - before < 40 * 1024 * 1024
        assert user.api.get("/health", auth=False).status == 200


def memory(server: TutelaProcess) -> int:
    """Resident bytes of the server."""
    with open(f"/proc/{server.pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def test_long_and_binary_lines(user: User, server: TutelaProcess) -> None:
    text = "head -c 40000 /dev/zero | tr '\\\\0' y; echo; printf 'a\\\\377b\\\\n'; " + THEN_WAIT
    uuid = await run(user, "web", text)
    async with stream(server, f"/v1/service/{uuid}/logs/") as socket:
        assert await text_of(socket, 2) == ["y" * 40_000 + "\n", "a\ufffdb\n"]


@pytest.mark.parametrize("kind", ["service", "container", "action"])
async def test_what_is_not_there_is_told(server: TutelaProcess, kind: str) -> None:
    for uuid in ("00000000-0000-4000-8000-000000000000", "nonsense"):
        async with stream(server, f"/v1/{kind}/{uuid}/logs/") as socket:
            (told,), code = await rest(socket)
        assert (told["type"], code) == ("error", 4404)
        assert uuid in told["data"]["errorMessage"]


async def test_go_sends_its_key_in_the_query_and_the_log_does_not_keep_it(user: User, server: TutelaProcess) -> None:
    uuid = await run(user, "web", "echo one; " + THEN_WAIT)
    async with stream(server, f"/v1/service/{uuid}/logs/?user=admin&token={key_of(server)}", header="") as socket:
        assert (await frame(socket))["log"] == "one\n"
    assert key_of(server) not in server.log()
