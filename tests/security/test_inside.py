"""The API's door for containers (S2, S29): who is let in at the address that an operator names, and who never is."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
from starlette.types import ASGIApp
from structlog.testing import capture_logs
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from app import inside
from app.roles import _server
from app.settings import Settings
from tests.admin.conftest import Office
from tests.agents.harness import eventually
from tests.api.client import KEY
from tests.harness.claims import free_port

HERE, LOOPBACK, ELSEWHERE = "127.0.0.2", "127.0.0.1", "127.0.0.3"
"""The door's address; this machine's own; and one that is neither its own, as far as it knows, nor on a bridge."""

ROUTES = """\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0
docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0
docker_gwbridge\t000012AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0
br-0123456789ab\t0000C00A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
br-0123456789ab\t0000000A\t0200C00A\t0003\t0\t0\t0\t000000FF\t0\t0\t0
br-lan\t0001A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
"""


@contextlib.asynccontextmanager
async def door(app: ASGIApp, **more: object) -> AsyncIterator[int]:
    """The door at HERE; its port."""
    settings = Settings(inside_address=HERE, port=free_port(), **more)  # type: ignore[arg-type]

    async def gateway() -> str:
        raise AssertionError("an address is named")

    listening = asyncio.create_task(inside.listen(settings, app, gateway, lambda inner, _: _server(settings, inner)))
    try:
        await eventually(lambda: answers(settings.port), "the door to be open")
        yield settings.port
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


def answers(port: int) -> bool:
    with contextlib.suppress(ConnectionRefusedError), socket.create_connection((HERE, port)):
        return True
    return False


async def ask(port: int, caller: str) -> int:
    transport = httpx2.AsyncHTTPTransport(local_address=caller)
    async with httpx2.AsyncClient(transport=transport) as http:
        return (await http.get(f"http://{HERE}:{port}/api/v1/service/")).status_code


async def test_at_the_address_that_is_named_no_other_machine_is_served(office: Office) -> None:
    with capture_logs() as said:
        async with door(office.app) as port:
            assert [await ask(port, each) for each in (LOOPBACK, ELSEWHERE)] == [401, 403]
    (told,) = [each for each in said if each["log_level"] == "warning"]
    assert "TUTELA_INSECURE_HTTP" in told["event"]


async def test_other_machines_are_served_there_with_consent_and_a_warning(office: Office) -> None:
    with capture_logs() as said:
        async with door(office.app, insecure_http=True) as port:
            assert await ask(port, ELSEWHERE) == 401
    (told,) = [each for each in said if each["log_level"] == "warning"]
    assert "keys travel in the clear" in told["event"]


async def test_the_key_of_who_is_turned_away_is_not_logged(office: Office, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        async with door(office.app) as port:
            with pytest.raises(InvalidStatus):
                await connect(
                    f"ws://{HERE}:{port}/v1/events/?user=admin&token={KEY}", proxy=None, local_addr=(ELSEWHERE, 0)
                )
    (line,) = [each.getMessage() for each in caplog.records if "WebSocket" in each.getMessage()]
    assert "token" not in line


@pytest.mark.parametrize(
    ("address", "here"),
    [
        ("172.17.0.2", True),  # the default bridge
        ("172.18.3.4", True),  # an overlay's container leaves it by docker_gwbridge
        ("10.192.0.9", True),  # a service's network
        ("10.192.1.9", False),
        ("10.1.2.3", False),  # behind a container
        ("192.168.1.7", False),  # a bridge of the host's own
        ("192.0.2.7", False),
        ("127.0.0.1", True),
        (ELSEWHERE, False),
    ],
)
def test_where_this_machines_containers_call_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str, here: bool
) -> None:
    (tmp_path / "route").write_text(ROUTES)
    monkeypatch.setattr(inside, "ROUTES", tmp_path / "route")
    assert inside.of_this_host(address) is here


def test_the_kernel_tells_its_routes_in_that_form() -> None:
    assert ROUTES.splitlines()[0].split() == inside.ROUTES.read_text().splitlines()[0].split()
