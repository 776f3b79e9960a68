"""A user of a running server. Cases of logs and commands run with the container here and on a host that joined."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import sweep
from tests.e2e.scenario import User
from tests.fleet.hosts import JoinedHost, control_plane, join_token
from tests.harness.engine import PrivateEngine
from tests.harness.server import TutelaProcess

EVERYWHERE = pytest.mark.parametrize("server", ["local", "remote"], indirect=True)


@pytest.fixture
def server(request: pytest.FixtureRequest, engine: PrivateEngine, database_url: str) -> Iterator[TutelaProcess]:
    """A running Tutela. `remote`: its node joined by token, and another control plane has the node's session."""
    if getattr(request, "param", "local") == "local":
        process = TutelaProcess(docker_host=engine.base_url, dsn=database_url)
        try:
            process.start()
            yield process
        finally:
            process.close()
            sweep(engine)
        return
    asked, other = control_plane(database_url), control_plane(database_url)
    host = JoinedHost("n1", engine.base_url)
    try:
        asked.start()
        other.start()
        host.start(other, join_token(database_url), seen_by=asked)
        yield asked
    finally:
        for each in (host, other, asked):
            each.close()
        sweep(engine)


@pytest.fixture
def user(server: TutelaProcess) -> User:
    return User(server)
