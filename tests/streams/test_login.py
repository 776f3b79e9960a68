"""Who may open a stream, and how a refusal is told (spec 1.3).

Each case of a refusal comes from an address of its own, since too many wrong keys from one are held up.
"""

from __future__ import annotations

import asyncio
import base64
from urllib.parse import quote
from uuid import uuid4

import pytest
from websockets.exceptions import InvalidStatus

from tests.harness.server import TutelaProcess
from tests.streams.client import frame, key_of, rest, stream

pytestmark = pytest.mark.e2e
ONE = "00000000-0000-4000-8000-000000000000"
PATHS = (
    "/v1/events",
    f"/v1/service/{ONE}/logs/",
    f"/v1/container/{ONE}/logs/",
    f"/v1/container/{ONE}/exec/?&command=ls",
)
ALIASES = (
    "/api/audit/v1/events/",
    "/api/audit/v1/admin/events",
    f"/api/app/v1/service/{ONE}/logs/",
    f"/api/app/v1/admin/container/{ONE}/logs/",
    f"/api/app/v1/container/{ONE}/exec/",
)


async def test_every_form_of_a_login_is_taken(server: TutelaProcess) -> None:
    key = key_of(server)
    basic = base64.b64encode(f"admin:{key}".encode()).decode()
    for header in (f"ApiKey admin:{key}", f"Basic {basic}", f'Basic "{basic}"'):
        async with stream(server, "/v1/events/", header=header) as socket:
            assert (await frame(socket))["type"] == "auth"
        async with stream(server, f"/v1/events/?auth={quote(header)}", header="") as socket:
            assert (await frame(socket))["type"] == "auth"
    async with stream(server, f"/v1/events/?user=admin&token={key}", header="") as socket:
        assert (await frame(socket))["type"] == "auth"
    log = server.log()
    assert key not in log
    assert basic not in log


@pytest.mark.parametrize("path", PATHS)
async def test_a_refusal_under_v1_is_a_frame(server: TutelaProcess, path: str) -> None:
    more, stranger = "&" if "?" in path else "?", (f"127.0.1.{PATHS.index(path) + 1}", 0)
    for given, header in ((path, ""), (path, "ApiKey admin:wrong"), (f"{path}{more}user=admin&token=wrong", "")):
        async with stream(server, given, header=header, local_addr=stranger) as socket:
            frames, code = await rest(socket)
        assert frames == [{"type": "error", "data": {"errorMessage": "UNAUTHORIZED"}}]
        assert code == 4401


@pytest.mark.parametrize("path", ALIASES)
async def test_a_refusal_on_an_alias_is_an_answer(server: TutelaProcess, path: str) -> None:
    stranger = (f"127.0.2.{ALIASES.index(path) + 1}", 0)
    for header in ("", "ApiKey admin:wrong"):
        with pytest.raises(InvalidStatus) as caught:
            async with stream(server, path, header=header, local_addr=stranger):
                pass
        assert caught.value.response.status_code == 401
        assert caught.value.response.headers["WWW-Authenticate"] == "ApiKey"
    async with stream(server, path) as socket:
        first = await frame(socket)
    assert first["type"] == ("auth" if "events" in path else "error")


async def test_somebody_elses_namespace_is_not_there(server: TutelaProcess) -> None:
    with pytest.raises(InvalidStatus) as caught:
        async with stream(server, "/api/audit/v1/nobody/events/"):
            pass
    assert caught.value.response.status_code == 404


async def test_plain_http_finds_no_stream(server: TutelaProcess) -> None:
    answer = await asyncio.to_thread(server.api.get, f"/v1/service/{uuid4()}/logs/")
    assert answer.status == 404
