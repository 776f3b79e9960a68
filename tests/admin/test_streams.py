"""What is taken away from a user ends at every control plane: requests at once, open streams within 5 s (S8)."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from websockets.exceptions import InvalidStatus

from tests.admin.servers import ask, control_plane, user_with_key
from tests.harness.server import TutelaProcess
from tests.harness.wait import bar
from tests.streams.client import frame, rest, stream

Pair = tuple[TutelaProcess, TutelaProcess]
BOUND = bar(5.0)


@pytest.fixture
def pair(database_url: str) -> Iterator[Pair]:
    with control_plane(database_url) as first, control_plane(database_url) as second:
        yield first, second


@pytest.mark.parametrize("what", ["revoke", "disable", "delete"])
async def test_a_right_that_is_taken_away_ends_streams_and_requests_everywhere(pair: Pair, what: str) -> None:
    first, second = pair
    header, user, key = user_with_key(first, "eve")
    async with (
        stream(second, "/v1/events/", header=header) as gone,
        stream(second, "/v1/events/", header=user_with_key(first, "max")[0]) as kept,
    ):
        await frame(gone)
        await frame(kept)
        began = time.monotonic()
        if what == "revoke":
            assert first.api.delete(key).status == 204
        elif what == "disable":
            assert first.api.patch(user, json={"enabled": False}).status == 200
        else:
            assert first.api.delete(user).status == 204
        assert ask(second, "GET", "/api/v1/service/", header).status == 401
        frames, code = await rest(gone, within=30)
        took = time.monotonic() - began
        assert (frames[-1]["data"], code) == ({"errorMessage": "UNAUTHORIZED"}, 4401)
        assert took <= BOUND, took
        first.api.post("/api/v1/admin/user/", json={"username": "other"})
        await kept.ping()
        print(f"{what}: the stream ended after {took:.2f} s")


async def test_who_may_only_read_runs_no_commands(pair: Pair) -> None:
    first, _ = pair
    header, _, _ = user_with_key(first, "eve", "read-only")
    path = "container/00000000-0000-4000-8000-000000000000/exec/"
    with pytest.raises(InvalidStatus) as refused:
        async with stream(first, f"/api/app/v1/{path}", header=header):
            pass
    assert refused.value.response.status_code == 403
    async with stream(first, f"/v1/{path}", header=header) as socket:
        frames, code = await rest(socket)
    assert code == 4403
    assert "needs the role member" in frames[0]["data"]["errorMessage"]
    rows = first.api.get("/api/v1/admin/audit/?user=eve").json["objects"]
    assert [row["status"] for row in rows] == [403, 403]
    async with stream(first, "/v1/events/", header=header) as socket:
        await frame(socket)
