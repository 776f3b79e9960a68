"""Users and their keys: made, bounded, ended at once."""

from __future__ import annotations

import asyncio
import re
from typing import Any
from uuid import UUID, uuid4

import pytest

from app.commands import users as commands
from app.commands.accounts import login_key
from app.streams.watch import Watch
from domain.access import Right, Role, Via, at_most, least, refusal
from orchestrator.purges import purge_once
from orchestrator.store import accounts, users
from orchestrator.store.db import Connection
from tests.admin.conftest import ADMIN, Office, header
from tests.api.client import API, KEY


def test_roles_are_an_order_and_a_key_never_gives_more_than_its_owner_has() -> None:
    order = [Role.READ_ONLY, Role.MEMBER, Role.ADMIN]
    for role in order:
        for scope in order:
            assert least(role, scope) is order[min(order.index(role), order.index(scope))]
            assert at_most(role, scope) == (order.index(role) <= order.index(scope))


def test_what_each_role_may() -> None:
    def allowed(role: Role, via: Via = Via.KEY) -> set[Right]:
        return {right for right in Right if refusal(role, via, right) is None}

    assert allowed(Role.READ_ONLY) == {Right.OPEN, Right.READ}
    assert allowed(Role.MEMBER) == {Right.OPEN, Right.READ, Right.WRITE, Right.ACCOUNT}
    assert allowed(Role.ADMIN) == set(Right)
    assert allowed(Role.ADMIN, Via.CONTAINER) == {Right.OPEN, Right.READ, Right.WRITE}


async def test_a_user_is_made_listed_and_works_with_its_key(office: Office) -> None:
    answer = await office.call("POST", f"{ADMIN}/user/", json={"username": "eve", "role": "member"})
    assert answer.status_code == 201, answer.text
    user = answer.json()
    assert (user["username"], user["role"], user["enabled"], user["has_password"]) == ("eve", "member", True, False)
    key = await office.key_of(user["uuid"], name="laptop")
    assert re.fullmatch(r"tutela_[0-9a-f]{72}", key["key"])
    eve = header("eve", key["key"])
    assert (await office.call("GET", f"{API}/service/", headers=eve)).json()["objects"] == []
    me = (await office.call("GET", f"{API}/auth/account/", headers=eve)).json()
    assert (me["username"], me["role"], me["effective_role"], me["key"]) == ("eve", "member", "member", key["uuid"])
    (listed,) = (await office.call("GET", f"{user['resource_uri']}key/")).json()["objects"]
    assert "key" not in listed
    assert (listed["name"], listed["scope"], listed["expires"]) == ("laptop", "member", None)
    assert listed["last_used"] is not None
    names = [each["username"] for each in (await office.call("GET", f"{ADMIN}/user/?enabled=true")).json()["objects"]]
    assert names == ["admin", "eve"]
    assert (await office.call("GET", user["resource_uri"])).json() == user


async def test_no_secret_of_a_user_is_kept_readable(office: Office) -> None:
    user = (await office.call("POST", f"{ADMIN}/user/", json={"username": "eve", "password": "correct horse"})).json()
    secrets = ["correct horse", (await office.key_of(user["uuid"]))["key"]]
    async with office.db.read() as conn:
        for table in ("accounts", "api_keys", "actions", "audit"):
            rows = await conn.fetch(f"SELECT row_to_json(t)::text AS text FROM {table} t")  # noqa: S608
            for row in rows:
                assert not any(secret in row["text"] for secret in secrets), table


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("user/", {"username": "Eve"}, "username"),
        ("user/", {"username": "-eve"}, "username"),
        ("user/", {}, "username"),
        ("user/", {"username": "eve", "role": "god"}, "role"),
        ("user/", {"username": "eve", "password": "short"}, "password"),
        ("user/", [], "body"),
        ("user/{me}/key/", {}, "name"),
        ("user/{me}/key/", {"name": "x", "scope": "god"}, "scope"),
        ("user/{me}/key/", {"name": "x", "expires_in": 5}, "expires_in"),
    ],
)
async def test_bad_input_names_the_field(office: Office, path: str, body: Any, field: str) -> None:
    me = (await office.user_named("admin"))["uuid"]
    answer = await office.call("POST", f"{ADMIN}/{path.replace('{me}', me)}", json=body)
    assert (answer.status_code, list(answer.json()["fields"])) == (400, [field])


async def test_names_are_unique_and_free_after_a_deletion(office: Office) -> None:
    await office.hire("eve")
    answer = await office.call("POST", f"{ADMIN}/user/", json={"username": "eve"})
    assert answer.status_code == 409
    assert "another user" in answer.json()["error"]
    user = await office.user_named("eve")
    assert (await office.call("DELETE", user["resource_uri"])).status_code == 204
    assert (await office.call("GET", user["resource_uri"])).status_code == 404
    assert (await office.call("DELETE", user["resource_uri"])).status_code == 404
    eve = await office.hire("eve")
    assert (await office.call("GET", f"{API}/service/", headers=eve)).status_code == 200


async def test_a_user_with_services_is_not_deleted_and_the_answer_names_them(office: Office) -> None:
    eve = await office.hire("eve")
    made = await office.call("POST", f"{API}/service/", headers=eve, json={"image": "a", "name": "shop"})
    user = await office.user_named("eve")
    answer = await office.call("DELETE", user["resource_uri"])
    assert answer.status_code == 409
    assert "shop" in answer.json()["error"]
    assert (await office.call("GET", f"{API}/service/", headers=eve)).status_code == 200
    await office.call("DELETE", made.json()["resource_uri"], headers=eve)
    async with office.db.transaction() as conn:  # what the last pass of its termination writes
        await conn.execute("UPDATE services SET destroyed_at = now()")
    assert (await office.call("DELETE", user["resource_uri"])).status_code == 204
    assert (await office.call("GET", f"{API}/service/", headers=eve)).status_code == 401


async def test_no_service_is_made_for_a_user_that_is_being_deleted(office: Office) -> None:
    eve = await office.hire("eve")
    user = UUID((await office.user_named("eve"))["uuid"])

    async def waits(conn: Connection) -> None:
        async with asyncio.timeout(30):
            while not await conn.fetchval("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"):
                pass  # the question itself takes its time

    async with office.db.transaction() as conn:
        await users.lock(conn, user)
        making = asyncio.ensure_future(office.call("POST", f"{API}/service/", headers=eve, json={"image": "a"}))
        async with office.db.read() as other:
            await waits(other)
        await users.delete(conn, user)
    answer = await making
    assert answer.status_code == 409, answer.text
    assert await office.count("services") == 0


async def test_a_revoked_key_and_a_disabled_user_are_out_with_the_next_request(office: Office) -> None:
    eve = await office.hire("eve")
    user = await office.user_named("eve")
    second = await office.key_of(user["uuid"])
    other = header("eve", second["key"])
    assert (await office.call("DELETE", f"{user['resource_uri']}key/{second['uuid']}/")).status_code == 204
    assert (await office.call("GET", f"{API}/service/", headers=other)).status_code == 401
    assert (await office.call("GET", f"{API}/service/", headers=eve)).status_code == 200
    assert (await office.change("eve", enabled=False)).json()["enabled"] is False
    assert (await office.call("GET", f"{API}/service/", headers=eve)).status_code == 401
    assert (await office.change("eve", enabled=True)).json()["disabled"] is None
    assert (await office.call("GET", f"{API}/service/", headers=eve)).status_code == 200
    assert (await office.call("DELETE", f"{user['resource_uri']}key/{uuid4()}/")).status_code == 404


async def test_a_disabled_user_is_not_let_in_by_password_container_or_trigger(office: Office) -> None:
    eve = await office.hire("eve")
    service = (
        await office.call("POST", f"{API}/service/", headers=eve, json={"image": "a", "roles": ["global"]})
    ).json()
    trigger = (await office.call("POST", f"{service['resource_uri']}trigger/", headers=eve, json={})).json()
    node = await office.node()
    container = await office.container(service["uuid"], node)
    token = {"Authorization": f"Bearer {office.app.state.secrets.token(UUID(container))}"}
    assert (await office.http.get(f"{API}/service/", headers=token)).status_code == 200
    await office.change("eve", enabled=False)
    assert (await office.http.get(f"{API}/service/", headers=token)).status_code == 401
    assert (await office.http.post(trigger["url"])).status_code == 404


async def test_a_key_ends_when_its_time_is_over(office: Office) -> None:
    eve = await office.hire("eve", expires_in=3600)
    assert (await office.call("GET", f"{API}/service/", headers=eve)).status_code == 200
    async with office.db.transaction() as conn:
        await conn.execute("UPDATE api_keys SET expires_at = now() WHERE expires_at IS NOT NULL")
    assert (await office.call("GET", f"{API}/service/", headers=eve)).status_code == 401


async def test_the_last_admin_stays(office: Office) -> None:
    admin = await office.user_named("admin")
    for answer in (
        await office.change("admin", enabled=False),
        await office.change("admin", role="member"),
        await office.call("DELETE", admin["resource_uri"]),
    ):
        assert answer.status_code == 409
        assert "last admin" in answer.json()["error"]
    await office.hire("root", "admin")
    root = await office.user_named("root")
    answers = await asyncio.gather(
        office.call("PATCH", admin["resource_uri"], json={"role": "member"}),
        office.call("PATCH", root["resource_uri"], json={"enabled": False}),
    )
    # Whoever came second was the last; or was no admin any more when its turn came.
    assert sorted(each.status_code for each in answers)[0] == 200
    async with office.db.read() as conn:
        left = await conn.fetchval("SELECT count(*) FROM accounts WHERE role = 'admin' AND disabled_at IS NULL")
    assert left == 1


async def test_a_disabled_admin_counts_for_nothing(office: Office) -> None:
    await office.hire("root", "admin")
    assert (await office.change("root", enabled=False)).status_code == 200
    assert (await office.change("admin", role="member")).status_code == 409


async def test_own_keys_give_at_most_what_the_key_that_asks_may(office: Office) -> None:
    eve = await office.hire("eve")
    keys = f"{API}/auth/key/"
    weak = (await office.call("POST", keys, headers=eve, json={"name": "ci", "scope": "read-only"})).json()
    assert weak["scope"] == "read-only"
    answer = await office.call("POST", keys, headers=eve, json={"name": "x", "scope": "admin"})
    assert (answer.status_code, list(answer.json()["fields"])) == (400, ["scope"])
    reader = header("eve", weak["key"])
    assert (await office.call("GET", f"{API}/service/", headers=reader)).status_code == 200
    for method, path in (("POST", keys), ("GET", keys), ("POST", f"{API}/service/")):
        assert (await office.call(method, path, headers=reader, json={"name": "x"})).status_code == 403
    listed = (await office.call("GET", keys, headers=eve)).json()["objects"]
    assert sorted(each["scope"] for each in listed) == ["member", "read-only"]
    assert (await office.call("DELETE", weak["resource_uri"], headers=eve)).status_code == 204
    assert (await office.call("GET", f"{API}/service/", headers=reader)).status_code == 401


async def test_nobody_sees_or_ends_the_keys_of_others(office: Office) -> None:
    eve, max_ = await office.hire("eve"), await office.hire("max")
    (key,) = (await office.call("GET", f"{API}/auth/key/", headers=eve)).json()["objects"]
    assert (await office.call("DELETE", key["resource_uri"], headers=max_)).status_code == 404
    user = await office.user_named("max")
    assert (await office.call("DELETE", f"{user['resource_uri']}key/{key['uuid']}/")).status_code == 404
    assert (await office.call("GET", f"{API}/service/", headers=eve)).status_code == 200


async def test_a_bounded_key_of_an_admin_does_not_become_more(office: Office) -> None:
    admin = await office.user_named("admin")
    member = header("admin", (await office.key_of(admin["uuid"], scope="member"))["key"])
    assert (await office.call("GET", f"{ADMIN}/user/", headers=member)).status_code == 403
    assert (await office.call("POST", f"{API}/token/", headers=member, json={})).status_code == 403
    made = (await office.call("POST", f"{API}/auth/key/", headers=member, json={"name": "x"})).json()
    assert made["scope"] == "member"
    answer = await office.call("POST", f"{API}/auth/password/", headers=member, json={"password": "correct horse"})
    assert answer.status_code == 409
    assert "less than" in answer.json()["error"]


async def test_a_demotion_bounds_all_keys_at_once(office: Office) -> None:
    root = await office.hire("root", "admin")
    assert (await office.call("GET", f"{ADMIN}/user/", headers=root)).status_code == 200
    await office.change("root", role="read-only")
    assert (await office.call("GET", f"{ADMIN}/user/", headers=root)).status_code == 403
    assert (await office.call("POST", f"{API}/service/", headers=root, json={"image": "a"})).status_code == 403
    assert (await office.call("GET", f"{API}/service/", headers=root)).status_code == 200


async def test_what_changes_users_is_an_action_of_the_admin(office: Office) -> None:
    await office.hire("eve")
    await office.change("eve", role="read-only")
    assert [each["action"] for each in await office.actions()] == ["User Update", "Key Create", "User Create"]
    assert KEY not in str(await office.actions())


async def test_open_streams_lose_what_a_demotion_takes(office: Office) -> None:
    """An exec ends, logs go on: the watch that every stream is under, without an engine."""
    eve = await office.hire("eve")
    async with office.db.read() as conn:
        known = await accounts.authenticate(conn, "eve", eve["Authorization"].partition(":")[2])
    assert known is not None
    principal = known.principal
    watch: Watch = office.app.state.watch
    async with watch.over(principal, Right.WRITE) as commands, watch.over(principal, Right.READ) as logs:
        await office.change("eve", role="read-only")
        async with asyncio.timeout(30):
            await commands.wait()
        assert not logs.is_set()


async def test_a_deleted_user_is_purged_when_nothing_tells_of_it_any_more(office: Office) -> None:
    await office.hire("eve")
    user = await office.user_named("eve")
    await office.call("DELETE", user["resource_uri"])
    async with office.db.transaction() as conn:
        await users.purge_deleted(conn)
        assert await conn.fetchval("SELECT count(*) FROM accounts") == 2
        await conn.execute("UPDATE accounts SET deleted_at = now() - interval '2 days' WHERE deleted_at IS NOT NULL")
        await users.purge_deleted(conn)
        assert await conn.fetchval("SELECT count(*) FROM accounts") == 1


async def test_a_deleted_user_with_an_image_that_came_at_the_same_moment_is_purged_with_it(office: Office) -> None:
    """Registered by a request that was let in before: nothing else would ever delete it."""
    await office.hire("eve")
    user = await office.user_named("eve")
    await office.call("DELETE", user["resource_uri"])
    async with office.db.transaction() as conn:
        await conn.execute(
            "INSERT INTO images (id, account_id, name) VALUES ($1, $2, 'a')", uuid4(), UUID(user["uuid"])
        )
        await users.purge_deleted(conn)
        assert await conn.fetchval("SELECT count(*) FROM images") == 1
        await conn.execute("UPDATE accounts SET deleted_at = now() - interval '2 days' WHERE deleted_at IS NOT NULL")
        await users.purge_deleted(conn)
        assert await conn.fetchval("SELECT count(*) FROM accounts") == 1
        assert await conn.fetchval("SELECT count(*) FROM images") == 0


async def test_a_lesser_key_ends_no_greater_one(office: Office) -> None:
    """Who has stolen it could lock its owner out."""
    user = await office.user_named("admin")
    lesser = header("admin", (await office.key_of(user["uuid"], scope="member"))["key"])
    keys = (await office.call("GET", f"{API}/auth/key/", headers=lesser)).json()["objects"]
    greater = next(each for each in keys if each["scope"] == "admin")
    answer = await office.call("DELETE", greater["resource_uri"], headers=lesser)
    assert answer.status_code == 409
    assert "of scope admin" in answer.json()["error"]
    assert (await office.call("GET", f"{API}/service/")).status_code == 200
    own = next(each for each in keys if each["scope"] == "member")
    assert (await office.call("DELETE", own["resource_uri"], headers=lesser)).status_code == 204


async def test_a_key_does_not_outlive_the_key_that_made_it(office: Office) -> None:
    user = await office.user_named("admin")
    short = await office.key_of(user["uuid"], expires_in=3600)
    mine = header("admin", short["key"])
    for asked in ({}, {"expires_in": 7200}):
        made = await office.call("POST", f"{API}/auth/key/", headers=mine, json={"name": "child", **asked})
        assert made.json()["expires"] == short["expires"]
    sooner = await office.call("POST", f"{API}/auth/key/", headers=mine, json={"name": "child", "expires_in": 600})
    assert sooner.json()["expires"] != short["expires"]
    free = await office.call("POST", f"{API}/auth/key/", json={"name": "child"})
    assert free.json()["expires"] is None


async def test_keys_that_are_over_do_not_count_and_are_purged(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "MOST_KEYS", 3)
    user = await office.user_named("admin")
    for _ in range(2):
        await office.key_of(user["uuid"], expires_in=600)
    refused = await office.call("POST", f"{ADMIN}/user/{user['uuid']}/key/", json={"name": "one more"})
    assert refused.status_code == 409
    async with office.db.transaction() as conn:
        await conn.execute("UPDATE api_keys SET expires_at = now() - interval '25 hours' WHERE expires_at IS NOT NULL")
    await office.key_of(user["uuid"])
    await purge_once(office.db)
    async with office.db.read() as conn:
        assert await conn.fetchval("SELECT count(*) FROM api_keys WHERE expires_at IS NOT NULL") == 0


async def test_a_login_that_a_change_of_the_password_overtakes_gets_no_key(office: Office) -> None:
    """Neither that of the new password, nor one of the old that nobody would end."""
    await office.hire("eve")
    account = accounts.Account(id=UUID((await office.user_named("eve"))["uuid"]), username="eve")
    secrets = office.app.state.secrets
    async with office.db.transaction() as conn:
        await accounts.set_password(conn, account.id, "eve", "old", anybodys=False)
    assert await login_key(office.db, secrets, account, "old") == secrets.login_key(account.id, "old")
    assert await login_key(office.db, secrets, account, "new") is None
    async with office.db.transaction() as conn:
        await accounts.set_password(conn, account.id, "eve", "new", anybodys=False)
        login = asyncio.create_task(login_key(office.db, secrets, account, "old"))
        await asyncio.sleep(0.2)
        assert not login.done(), "it waits for who changes the password"
    assert await login is None


async def test_a_deleted_user_leaves_no_stack(office: Office) -> None:
    eve = await office.hire("eve")
    await office.call("POST", f"{API}/stack/", headers=eve, json={"name": "empty", "services": []})
    assert (await office.call("DELETE", (await office.user_named("eve"))["resource_uri"])).status_code == 204
    async with office.db.read() as conn:
        assert await conn.fetchval("SELECT count(*) FROM stacks WHERE terminated_at IS NULL") == 0
