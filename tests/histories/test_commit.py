"""The API dies, or its way to Postgres is cut, at the commit itself; what was asked is done once (F1, F2, F28)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any
from urllib.parse import quote
from uuid import UUID

import pytest

from tests.fleet.hosts import control_plane
from tests.harness.postgres import TestPostgres
from tests.harness.server import Response, TutelaProcess
from tests.histories.proxy import CommitProxy, Moment

API = "/api/v1/service/"


class Stage:
    """An API process whose way to Postgres is the proxy, and a user with keys."""

    def __init__(self, dsn: str) -> None:
        self.proxy = CommitProxy(dsn)
        self.server: TutelaProcess = control_plane(self.proxy.dsn, roles="api")
        self._beside = ThreadPoolExecutor(2)

    def post(self, path: str, key: str, json: Any = None) -> Response:
        return self.server.api.post(path, json=json, headers={"Idempotency-Key": key})

    def beside(self, path: str, key: str, json: Any = None) -> Future[Response]:
        """The request on another thread: it will not come back soon."""
        return self._beside.submit(self.post, path, key, json)

    def named(self, name: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.server.api.get(f"{API}?name={name}").json["objects"]
        return found

    def actions(self, uuid: str, verb: str) -> int:
        listed = self.server.api.get(f"/api/v1/action/?object={API}{uuid}/&action={quote(verb)}").json
        total: int = listed["meta"]["total_count"]
        return total

    def close(self) -> None:
        self.server.close()
        self.proxy.close()
        self._beside.shutdown()


@pytest.fixture(scope="module")
async def own_database(postgres: TestPostgres) -> AsyncIterator[str]:
    dsn = await postgres.fresh()
    yield dsn
    await postgres.drop(dsn)


@pytest.fixture(scope="module")
def stage(own_database: str) -> Iterator[Stage]:
    made = Stage(own_database)
    try:
        made.server.start()
        yield made
    finally:
        made.close()


def test_the_api_is_killed_at_the_commit(stage: Stage) -> None:
    """F2 before it: no trace, and the same request works. F1 after it: it is kept, and answered when asked again.

    Both at once: two requests, one on each side of its commit when the process dies.
    """
    asked = []
    for moment in Moment:
        stage.proxy.arm(f"killed-{moment.value}".encode(), moment, cut=False)
        asked.append(stage.beside(API, f"killed-{moment.value}", {"image": "a", "name": f"killed-{moment.value}"}))
        stage.proxy.reached()
    stage.server.kill()
    for each in asked:
        with pytest.raises(ConnectionError):
            each.result(timeout=30)
    stage.proxy.release()
    stage.server.start()
    for moment in Moment:
        name, done = f"killed-{moment.value}", moment is Moment.AFTER
        assert len(stage.named(name)) == done
        answer = stage.post(API, name, {"image": "a", "name": name})
        assert answer.status == 201, answer.text
        assert ("idempotent-replayed" in answer.headers) == done
        (service,) = stage.named(name)
        assert answer.json["uuid"] == service["uuid"]
        assert stage.actions(service["uuid"], "Service Create") == 1


@pytest.mark.parametrize("moment", list(Moment))
def test_the_connection_is_cut_in_the_commit(stage: Stage, moment: Moment) -> None:
    """F28: the API does not know, says so, and does not try again by itself; the client's repetition finds out."""
    name, body = f"cut-{moment.value}", {"image": "a", "name": f"cut-{moment.value}"}
    stage.proxy.arm(name.encode(), moment, cut=True)
    answer = stage.post(API, name, body)
    assert (answer.status, answer.json["code"]) == (503, "database_away")
    assert "retry-after" in answer.headers
    done = moment is Moment.AFTER
    assert len(stage.named(name)) == done
    again = stage.post(API, name, body)
    assert again.status == 201, again.text
    assert ("idempotent-replayed" in again.headers) == done
    (service,) = stage.named(name)
    assert stage.actions(service["uuid"], "Service Create") == 1


@pytest.mark.parametrize("moment", list(Moment))
def test_a_trigger_whose_answer_is_lost_scales_once(stage: Stage, moment: Moment) -> None:
    name = f"scaled-{moment.value}"
    service = stage.post(API, name, {"image": "a", "name": name, "target_num_containers": 1}).json
    trigger = stage.post(f"{API}{service['uuid']}/trigger/", f"{name}-trigger", {"operation": "SCALEUP"}).json["uuid"]
    call = f"{API}{service['uuid']}/trigger/{trigger}/call/3/"
    stage.proxy.arm(UUID(service["uuid"]).bytes, moment, cut=True)
    assert stage.post(call, f"{name}-call").status == 503
    again = stage.post(call, f"{name}-call")
    assert again.status == 202, again.text
    assert ("idempotent-replayed" in again.headers) == (moment is Moment.AFTER)
    assert stage.named(name)[0]["target_num_containers"] == 4
    assert stage.actions(service["uuid"], "Service Scale") == 1
