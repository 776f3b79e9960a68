"""One server for the tests of a module, and the command lines that talk to it.

A server a module, because 0.10.5 shows the first page of a list only: what other modules left would hide its objects.
"""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass

import pytest

from tests.clients.cli import Cli
from tests.conftest import sweep
from tests.e2e.scenario import WEB, User
from tests.harness.engine import PrivateEngine
from tests.harness.postgres import TestPostgres
from tests.harness.python27 import Client, Clients, Unavailable, installed, required
from tests.harness.server import TutelaProcess, wait_for

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def clients() -> Clients:
    """Python 2.7 with the clients; without it the tests are skipped, but not where they are required."""
    try:
        return installed()
    except Unavailable as problem:
        if required():
            raise
        pytest.skip(str(problem))


@pytest.fixture(scope="module")
async def server(engine: PrivateEngine, postgres: TestPostgres) -> AsyncIterator[TutelaProcess]:
    """A running Tutela for all tests of a module."""
    dsn = await postgres.fresh()
    process = TutelaProcess(docker_host=engine.base_url, dsn=dsn)
    try:
        process.start()
        wait_for(lambda: process.api.get("/api/v1/node/").json["objects"], timeout=20, what="its node")
        yield process
    finally:
        process.close()
        sweep(engine)
        await postgres.drop(dsn)


@pytest.fixture(scope="module")
def user(server: TutelaProcess) -> User:
    """Somebody who uses the API without a client, to prepare and to look."""
    return User(server)


def _credentials(server: TutelaProcess) -> tuple[str, str]:
    stored = json.loads((server.state_dir / "admin-key.json").read_text())
    return stored["user"], stored["api_key"]


def _cli(client: Client, server: TutelaProcess) -> Iterator[Cli]:
    cli = Cli(client, server.port, *_credentials(server))
    try:
        yield cli
    finally:
        shutil.rmtree(cli.home, ignore_errors=True)


@pytest.fixture
def later(clients: Clients, server: TutelaProcess) -> Iterator[Cli]:
    """`tutum` 0.21.1."""
    yield from _cli(clients.later, server)


@pytest.fixture
def seed(clients: Clients, server: TutelaProcess) -> Iterator[Cli]:
    """`tutum` 0.10.5."""
    yield from _cli(clients.seed, server)


@pytest.fixture(params=["0.21.1", "0.21.2"])
def sdk(request: pytest.FixtureRequest, clients: Clients, server: TutelaProcess) -> Iterator[Cli]:
    """`python-tutum`, the last releases."""
    yield from _cli(clients.later if request.param == "0.21.1" else clients.newest_sdk, server)


@pytest.fixture
def name() -> str:
    """A service's or stack's name that nobody else has."""
    return f"job{next(_numbers)}"


@dataclass(frozen=True)
class Shop:
    """A service with two running containers that tests read and do not change."""

    name: str
    uuid: str
    containers: list[str]


@pytest.fixture(scope="module")
def shop(user: User) -> Shop:
    uuid = user.run(
        "shop",
        image=WEB,
        target=2,
        container_ports=[{"protocol": "tcp", "inner_port": 80, "published": True}],
        container_envvars=[{"key": "SHELF", "value": "books"}],
        run_command='sh -c "echo open for $SHELF; echo late >&2; exec httpd -f -p 80 -h /www"',
    )
    user.logged(uuid, 4)
    return Shop("shop", uuid, [each["uuid"] for each in user.containers(uuid)])


@pytest.fixture
def sleeping(user: User, name: str) -> Callable[..., str]:
    """Starts a service of that name; returns its uuid when it runs."""
    return lambda **more: user.run(name, **more)
