"""Role by route, from the routes themselves (S4): what is not declared fails here. That each is really refused what is
not its own is in `tests/admin/test_rights.py`."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx2
import pytest

from agents import frames
from app.api.rights import RIGHTS, right_of
from app.inside import OnlyFrom
from app.main import create_monitor
from domain.access import Right
from orchestrator.store.db import Database
from tests.admin.conftest import Office
from tests.security import routes


def test_every_way_in_declares_a_right_and_the_page_shows_it(capsys: pytest.CaptureFixture[str]) -> None:
    undeclared = [each for each in routes.http() if right_of(*each) is None]
    undeclared += [("WS", path) for path, declared, _ in routes.streams() if right_of("WS", declared) is None]
    assert undeclared == []
    page = routes.render()
    with capsys.disabled():
        counts = len(routes.http()), len(routes.streams()), len(routes.DOOR)
        print("\n{} HTTP routes, {} streams and {} paths of the agents' door, all with a right".format(*counts))
    assert routes.PAGE.read_text(encoding="utf-8") == page, "write it anew: python -m tests.security.routes"


def test_a_route_that_declares_nothing_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(RIGHTS, "GET /api/v1/service/")
    assert routes.render().count("none declared") == 1
    monkeypatch.delitem(RIGHTS, "WS /v1/events/")
    with pytest.raises(KeyError, match="events"):
        routes.render()  # no process with such a stream starts


def test_the_doors_paths_are_these() -> None:
    assert {getattr(frames, name) for name in dir(frames) if name.endswith("_PATH")} == set(routes.DOOR)


@pytest.fixture
async def monitor(office: Office) -> AsyncIterator[httpx2.AsyncClient]:
    db: Database = office.db
    app = create_monitor(office.app.state.settings, db, office.app.state.secrets)
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://monitor.test") as http:
        yield http


async def test_a_process_without_the_api_guards_what_it_shows(monitor: httpx2.AsyncClient) -> None:
    for path in routes.monitor():
        answer = await monitor.get(path)
        assert (answer.status_code == 401) == (right_of("GET", path) is not Right.OPEN), path
    assert (await monitor.get("/api/v1/service/")).status_code == 404


async def test_the_door_for_containers_is_the_same_application_for_fewer(office: Office) -> None:
    inner = OnlyFrom(office.app, lambda address: address == "10.192.0.9")
    for address, code in (("10.192.0.9", 401), ("192.0.2.1", 403), ("127.0.0.1", 403)):
        transport = httpx2.ASGITransport(app=inner, client=(address, 4000), raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url="http://inside.test") as http:
            forged = {"X-Forwarded-For": "10.192.0.9"}
            assert (await http.get("/api/v1/service/", headers=forged)).status_code == code
