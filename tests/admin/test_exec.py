"""A command in a container, on a real engine: it leaves a row, and ends with the right to it (S8, S19, S30)."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.admin.servers import ask, user_with_key
from tests.harness.server import TutelaProcess
from tests.harness.wait import bar, wait_for
from tests.streams.client import rest, stream, until

pytestmark = pytest.mark.e2e


def running_container(server: TutelaProcess, header: str) -> str:
    """A running container of the user whose header it is."""
    body = {"image": "tutela/web:latest", "name": "web"}
    service = ask(server, "POST", "/api/v1/service/", header, body).json["resource_uri"]
    assert ask(server, "POST", f"{service}start/", header).status == 202

    def look() -> str | None:
        found = ask(server, "GET", "/api/v1/container/?state=Running", header).json["objects"]
        return found[0]["uuid"] if found else None

    return wait_for(look, timeout=60, what="the container to run")


async def test_a_command_leaves_a_row_and_ends_with_the_right_to_it(server: TutelaProcess) -> None:
    header, path, _ = await asyncio.to_thread(user_with_key, server, "eve")
    container = await asyncio.to_thread(running_container, server, header)
    at = f"/v1/container/{container}/exec/?command=sh+-c+%22echo+there;+sleep+1000%22"
    async with stream(server, at, header=header) as socket, stream(server, "/v1/events/", header=header) as events:
        await until(socket, lambda each: "there" in each["output"])
        (row,) = server.api.get("/api/v1/admin/audit/?action=Container%20Exec").json["objects"]
        assert (row["user"], row["object"], row["via"]) == ("eve", f"/api/v1/container/{container}/", "key")
        assert row["detail"] == "sh -c 'echo there; sleep 1000'"
        assert row["key"] is not None
        began = time.monotonic()
        assert server.api.patch(path, json={"role": "read-only"}).status == 200
        frames, code = await rest(socket, within=30)
        took = time.monotonic() - began
        assert (frames[-1]["data"]["errorMessage"], code) == ("UNAUTHORIZED", 4401)
        assert took <= bar(5.0), took
        await events.ping()
        print(f"the command ended {took:.2f} s after the demotion")
