"""A user of a running server. Cases of logs and commands run with the container here and on a host that joined."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.conftest import sweep
from tests.e2e.conftest import clear
from tests.e2e.scenario import User
from tests.fleet.hosts import JoinedHost, control_plane, join_token
from tests.harness.engine import PrivateEngine
from tests.harness.postgres import TestPostgres
from tests.harness.server import TutelaProcess

EVERYWHERE = pytest.mark.parametrize("shared_server", ["local", "remote"], indirect=True)


@pytest.fixture(scope="module", params=["local"])
async def shared_server(
    request: pytest.FixtureRequest, engine: PrivateEngine, postgres: TestPostgres
) -> AsyncIterator[TutelaProcess]:
    """A running Tutela for a module. `remote`: its node joined by token, and another control plane has its session."""
    dsn = await postgres.fresh()
    host: JoinedHost | None = None
    if request.param == "local":
        planes = [TutelaProcess(docker_host=engine.base_url, dsn=dsn)]
    else:
        planes = [control_plane(dsn), control_plane(dsn)]
        host = JoinedHost("n1", engine.base_url)
    try:
        for each in planes:
            each.start()
        if host is not None:
            host.start(planes[1], join_token(dsn), seen_by=planes[0])
        yield planes[0]
    finally:
        if host is not None:
            host.close()
        for each in reversed(planes):
            each.close()
        sweep(engine)
        await postgres.drop(dsn)


@pytest.fixture
def server(shared_server: TutelaProcess, engine: PrivateEngine) -> Iterator[TutelaProcess]:
    """The module's server with nothing on it."""
    yield shared_server
    clear(shared_server, engine)


@pytest.fixture
def user(server: TutelaProcess) -> User:
    return User(server)
