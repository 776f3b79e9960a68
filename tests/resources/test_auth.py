"""Login by password, and setting one (spec 1.2, 1.4)."""

from __future__ import annotations

import base64
from typing import Any

import httpx2
import pytest

from app.limits import Limits
from app.passwords import fits, hashed
from app.settings import Settings
from tests.api.client import KEY
from tests.resources.conftest import World

API = "/api/v1"
PASSWORD = "correct:horse battery"


def basic(user: str, secret: str) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(f'{user}:{secret}'.encode()).decode()}"}


async def as_user(world: World, secret: str, path: str = f"{API}/auth/", user: str = "admin") -> httpx2.Response:
    return await world.http.get(path, headers=basic(user, secret))


async def set_to(world: World, password: Any, **more: Any) -> httpx2.Response:
    return await world.call("POST", f"{API}/auth/password/", json={"password": password, **more})


def test_what_is_stored() -> None:
    stored = hashed(PASSWORD)
    assert stored.startswith("scrypt$15$8$1$")
    assert stored != hashed(PASSWORD)
    assert fits(stored, PASSWORD)
    assert not fits(stored, PASSWORD + " ")


async def test_a_key_is_echoed(world: World) -> None:
    for answer in (await world.call("GET", f"{API}/auth/"), await as_user(world, KEY)):
        assert answer.status_code == 200
        assert answer.json()["objects"] == [{"username": "admin", "key": KEY}]
    assert await world.count("api_keys") == 1


async def test_login_by_password_gives_a_key_that_works(world: World) -> None:
    assert (await as_user(world, PASSWORD)).status_code == 401
    assert (await set_to(world, PASSWORD)).status_code == 200
    answer = await as_user(world, PASSWORD)
    (login,) = answer.json()["objects"]
    assert (answer.status_code, login["username"]) == (200, "admin")
    assert login["key"] not in {KEY, PASSWORD}
    header = {"Authorization": f"ApiKey admin:{login['key']}"}
    assert (await world.http.get(f"{API}/service/", headers=header)).status_code == 200
    # Every command of the CLI logs in: that must not leave a key each.
    assert (await as_user(world, PASSWORD)).json()["objects"] == [login]
    assert await world.count("api_keys") == 2
    assert (await as_user(world, PASSWORD, f"{API}/service/")).status_code == 200  # and it serves everywhere
    assert (
        await world.http.get(f"{API}/auth/", headers={"Authorization": f"ApiKey admin:{PASSWORD}"})
    ).status_code == 401


async def test_a_new_password_ends_the_logins_by_the_old_one(world: World) -> None:
    await set_to(world, PASSWORD)
    old = (await as_user(world, PASSWORD)).json()["objects"][0]["key"]
    await set_to(world, "another one")
    assert (await as_user(world, PASSWORD)).status_code == 401
    assert (await as_user(world, old)).status_code == 401
    assert (await as_user(world, "another one")).status_code == 200
    assert (await as_user(world, KEY)).status_code == 200


async def test_a_password_is_checked_slowly_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await set_to(world, PASSWORD)
    assert (await as_user(world, PASSWORD)).status_code == 200

    def never(*_: Any) -> bool:
        raise AssertionError("checked again")

    monkeypatch.setattr("app.passwords.fits", never)
    assert (await as_user(world, PASSWORD)).status_code == 200


async def test_guessing_is_throttled_but_not_keys_nor_who_was_in(world: World) -> None:
    world.app.state.limits = Limits.of(Settings(), lambda: 0.0)  # each check takes its time
    await set_to(world, PASSWORD)
    assert (await as_user(world, PASSWORD)).status_code == 200
    assert [(await as_user(world, f"guess {n}")).status_code for n in range(11)] == [401] * 10 + [429]
    assert (await as_user(world, KEY)).status_code == 200
    assert (await as_user(world, PASSWORD)).status_code == 200
    await set_to(world, "another one")
    answer = await as_user(world, "another one")  # right, but it could be the eleventh guess
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) > 0


@pytest.mark.parametrize("password", ["short", "", None, 5, "x" * 1025, "null\x00byte12"])
async def test_bad_passwords(world: World, password: Any) -> None:
    answer = await set_to(world, password)
    assert (answer.status_code, list(answer.json()["fields"])) == (400, ["password"])


async def test_no_password_is_stored_or_recorded_readable(world: World) -> None:
    answer = await set_to(world, PASSWORD)
    assert PASSWORD not in answer.text
    (action,) = await world.actions()
    assert (action["action"], action["state"]) == ("Account Update", "Success")
    assert "********" in str(action["body"])
    async with world.db.read() as conn:
        for table in ("accounts", "actions", "api_keys"):
            rows = await conn.fetch(f"SELECT row_to_json(t)::text AS text FROM {table} t")  # noqa: S608
            assert PASSWORD not in str([row["text"] for row in rows])


async def test_only_an_admin_sets_those_of_others(world: World) -> None:
    other = await world.user("other", "k2")
    assert (await set_to(world, PASSWORD, username="other")).status_code == 200
    assert (await as_user(world, PASSWORD, user="other")).json()["objects"][0]["username"] == "other"
    body = {"password": PASSWORD, "username": "admin"}
    answer = await world.call("POST", f"{API}/auth/password/", json=body, headers=other)
    assert answer.status_code == 404
    assert (await as_user(world, PASSWORD)).status_code == 401
    assert (await set_to(world, PASSWORD, username="nobody")).status_code == 404


async def test_a_container_sets_none(world: World) -> None:
    node, service = await world.node(), await world.create(name="web", roles=["global"])
    container = await world.container(service["uuid"], node)
    from uuid import UUID

    header = {"Authorization": f"Bearer {world.app.state.secrets.token(UUID(container))}"}
    assert (await world.http.get(f"{API}/auth/", headers=header)).status_code == 200
    answer = await world.http.post(f"{API}/auth/password/", headers=header, json={"password": PASSWORD})
    assert answer.status_code == 403
    assert (await as_user(world, PASSWORD)).status_code == 401
