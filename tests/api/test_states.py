"""The table of states and operations (spec 2.14), cell by cell, through the application: code, answer, what is left.

The states are brought about by the user's own requests, real passes and an agent that does, or does not do, its part.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from orchestrator.store import accounts
from tests.api.client import Client, application
from tests.orchestrator.world import Node, Record

COLUMNS = ("start", "stop", "redeploy", "scale", "terminate", "target", "policies", "fields")
PATCHES: dict[str, dict[str, Any]] = {
    "target": {"target_num_containers": 3},
    "policies": {"tags": ["a"], "autodestroy": "ON_FAILURE", "nickname": "other", "linked_to_service": []},
    "fields": {"run_command": "other"},
}
NO, SAME = "refused", "="
BEGIN, STOP, REDEPLOY, SCALE, END = "Starting", "Stopping", "Redeploying", "Scaling", "Terminating"

TABLE = {
    # the state: start, stop, redeploy, scale, terminate, and PATCH of target, of policies, of container fields
    "Init":                            (BEGIN, NO, NO, SAME, END, SAME, SAME, SAME),
    "Starting":                        (NO, NO, NO, NO, NO, BEGIN, SAME, REDEPLOY),
    "Running":                         (NO, STOP, REDEPLOY, SAME, END, SCALE, SAME, REDEPLOY),
    "Partly running":                  (BEGIN, STOP, REDEPLOY, SCALE, END, SCALE, SAME, REDEPLOY),
    "Scaling":                         (NO, NO, NO, NO, NO, SCALE, SAME, REDEPLOY),
    "Scaling, by a PATCH":             (NO, NO, NO, SCALE, NO, SCALE, SAME, REDEPLOY),
    "Redeploying":                     (NO, NO, NO, NO, NO, REDEPLOY, SAME, REDEPLOY),
    "Redeploying, by a PATCH":         (NO, NO, REDEPLOY, NO, NO, REDEPLOY, SAME, REDEPLOY),
    "Stopping":                        (NO, NO, NO, NO, NO, SAME, SAME, SAME),
    "Stopped":                         (BEGIN, NO, REDEPLOY, SAME, END, SAME, SAME, SAME),
    "Terminating":                     (NO, NO, NO, NO, NO, NO, NO, NO),
    "Terminated":                      (NO, NO, NO, NO, NO, NO, NO, NO),
    "Not running":                     (BEGIN, NO, NO, SCALE, END, SCALE, SAME, SAME),
    "Not running, of a target of 0":   (NO, NO, NO, NO, END, SCALE, SAME, SAME),
}  # fmt: skip


@dataclass
class Place:
    """The application, and the node whose agent does as it is told when `settle` is called."""

    client: Client
    record: Record
    node: Node

    async def ask(self, operation: str, uri: str) -> Any:
        if operation in PATCHES:
            return await self.client.call("PATCH", uri, json=PATCHES[operation])
        if operation == "terminate":
            return await self.client.call("DELETE", uri)
        return await self.client.call("POST", f"{uri}{operation}/")

    async def done(self, operation: str, uris: list[str]) -> None:
        for uri in uris:
            assert (await self.ask(operation, uri)).status_code == 202

    async def settle(self) -> None:
        await self.record.settle(self.node)

    async def create(self) -> str:
        uri: str = (await self.client.create(target_num_containers=2))["resource_uri"]
        return uri

    async def show(self, uri: str) -> dict[str, Any]:
        shown: dict[str, Any] = (await self.client.call("GET", uri)).json()
        return shown

    async def without(self, uris: list[str], *slots: int) -> None:
        """A user terminates those containers of the services."""
        for uri in uris:
            containers = (await self.show(uri))["containers"]
            for slot in slots:
                assert (await self.client.call("DELETE", containers[slot - 1])).status_code == 202
        await self.settle()

    async def bring(self, state: str, uris: list[str]) -> None:
        """Bring the services, which are new, into the state."""
        if state in {"Init", "Starting"}:
            await self.done("start", uris if state == "Starting" else [])
            return
        await self.done("start", uris)
        await self.settle()
        match state:
            case "Partly running":
                await self.without(uris, 2)
            case "Scaling":
                await self.without(uris, 2)
                await self.done("scale", uris)
            case "Scaling, by a PATCH":
                for uri in uris:
                    await self.client.call("PATCH", uri, json={"target_num_containers": 4})
            case "Redeploying":
                await self.done("redeploy", uris)
            case "Redeploying, by a PATCH":
                for uri in uris:
                    await self.client.call("PATCH", uri, json={"run_command": "first"})
            case "Stopping" | "Stopped":
                await self.done("stop", uris)
            case "Terminating" | "Terminated":
                await self.done("terminate", uris)
            case "Not running":
                await self.without(uris, 1, 2)
            case "Not running, of a target of 0":
                for uri in uris:
                    await self.client.call("PATCH", uri, json={"target_num_containers": 0})
        if state in {"Stopped", "Terminated", "Not running, of a target of 0"}:
            await self.settle()


@pytest.fixture
async def place(database_url: str) -> AsyncIterator[Place]:
    async with application(database_url) as client:
        async with client.db.read() as conn:
            account = await accounts.admin(conn)
        assert account is not None
        yield Place(client, Record(client.db, account), await Node.join(client.db))


@pytest.mark.parametrize("row", list(TABLE))
async def test_every_cell_of_the_table_over_http(place: Place, row: str) -> None:
    state = row.partition(",")[0]
    cells = sorted(zip(COLUMNS, TABLE[row], strict=True), key=lambda cell: (cell[1] is not NO, cell[1] is not SAME))
    # What leaves the state as it is can be asked of one service, what is refused first.
    still = [expected for _, expected in cells if expected in {NO, SAME}]
    uris = [await place.create() for _ in range(1 + len(cells) - len(still))]
    await place.bring(row, uris)
    each_its_own = [*[uris[0]] * len(still), *uris[1:]]
    for (operation, expected), uri in zip(cells, each_its_own, strict=True):
        before = await place.show(uri)
        assert before["state"] == state, (row, before)
        answer = await place.ask(operation, uri)
        action = await place.show(answer.headers["x-tutum-action-uri"])
        after = await place.show(uri)
        cell = (row, operation, answer.status_code, after["state"], action["state"])
        if expected is NO:
            called = "update" if operation in PATCHES else operation
            assert answer.status_code == 409, cell
            assert answer.json()["error"].startswith(f"Service is in state {state}: {called} is not allowed"), cell
            assert action["state"] == "Failed", cell
            assert called in action["message"], cell
            assert {**after, "actions": []} == {**before, "actions": []}, cell
            continue
        stored = expected is SAME
        assert answer.status_code == (200 if stored and operation in PATCHES else 202), cell
        assert answer.json()["state"] == after["state"] == (state if stored else expected), cell
        assert action["state"] == ("Success" if stored else "In progress"), cell
        assert answer.json()["resource_uri"] == uri, cell


def test_the_table_has_every_state() -> None:
    assert {each.partition(",")[0] for each in TABLE} == {
        "Init", "Starting", "Running", "Partly running", "Scaling", "Redeploying", "Stopping", "Stopped",
        "Terminating", "Terminated", "Not running",
    }  # fmt: skip
