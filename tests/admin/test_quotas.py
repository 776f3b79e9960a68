"""An account has as many services and containers as an admin lets it (RELIABILITY S17)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.admin.conftest import ADMIN, Office
from tests.api.client import API


class Eve:
    """A member, with what she asks for."""

    def __init__(self, office: Office, header: dict[str, str]) -> None:
        self.office, self.header = office, header

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        return await self.office.call(method, path, headers=self.header, json=body)

    async def service(self, **body: Any) -> Any:
        return await self.call("POST", f"{API}/service/", {"image": "a", **body})

    async def made(self, **body: Any) -> str:
        answer = await self.service(**body)
        assert answer.status_code == 201, answer.text
        uri: str = answer.json()["resource_uri"]
        return uri

    async def stack(self, name: str, *targets: int) -> Any:
        services = [
            {"name": f"s{number}", "image": "a", "target_num_containers": target}
            for number, target in enumerate(targets)
        ]
        return await self.call("POST", f"{API}/stack/", {"name": name, "services": services})


@pytest.fixture
async def eve(office: Office) -> Eve:
    return Eve(office, await office.hire("eve"))


async def limit(eve: Eve, **quota: Any) -> None:
    answer = await eve.office.change("eve", quota=quota)
    assert answer.status_code == 200, answer.text


def refused(answer: Any, field: str) -> str:
    assert (answer.status_code, list(answer.json()["fields"])) == (400, [field]), answer.text
    text: str = answer.json()["fields"][field]
    return text


async def test_an_admin_sets_it_limit_by_limit_and_everybody_sees_his_own(eve: Eve) -> None:
    none = dict.fromkeys(("services", "containers", "memory", "cpu_shares"))
    assert (await eve.office.user_named("eve"))["quota"] == none
    await limit(eve, services=2, containers=5)
    await limit(eve, containers=4)
    assert (await eve.call("GET", f"{API}/auth/account/")).json()["quota"] == none | {"services": 2, "containers": 4}
    assert (await eve.office.change("eve", enabled=True)).json()["quota"] == none | {"services": 2, "containers": 4}
    await limit(eve, services=None)
    assert (await eve.office.user_named("eve"))["quota"] == none | {"containers": 4}
    for bad, field in ((-1, "quota.services"), ("x", "quota.services")):
        refused(await eve.office.change("eve", quota={"services": bad}), field)
    refused(await eve.office.change("eve", quota=5), "quota")
    own = (await eve.office.user_named("eve"))["resource_uri"]
    assert (await eve.call("PATCH", own, {"quota": {"containers": None}})).status_code == 403
    assert [each["action"] for each in await eve.office.audit("action=User Update")][:1] == ["User Update"]


async def test_services_beyond_it_are_refused_until_one_is_terminated(eve: Eve) -> None:
    await limit(eve, services=2)
    first = await eve.made()
    await eve.made()
    assert "eve would have 3 services, the quota is 2" in refused(await eve.service(), "services")
    assert await eve.office.count("services") == 2
    refused(await eve.stack("shop", 1), "services")
    assert await eve.office.count("stacks") == 0
    # What is refused is on record, as every refusal.
    (action,) = (await eve.call("GET", f"{API}/action/?action=Stack Create")).json()["objects"]
    assert (action["state"], "quota" in action["message"]) == ("Failed", True)
    assert (await eve.call("DELETE", first)).status_code == 202
    assert (await eve.service()).status_code == 201
    # Another account is not counted, and has no quota of its own.
    for _ in range(3):
        await eve.office.create()


async def test_containers_count_wherever_a_target_grows(eve: Eve) -> None:
    await limit(eve, containers=5)
    web = await eve.made(target_num_containers=3)
    field = "target_num_containers"
    assert "6 containers, the quota is 5" in refused(await eve.service(target_num_containers=3), field)
    refused(await eve.call("PATCH", web, {"target_num_containers": 6}), field)
    assert (await eve.call("PATCH", web, {"target_num_containers": 4})).status_code == 200
    refused(await eve.stack("shop", 1, 1), field)
    shop = await eve.stack("shop", 1)
    assert shop.status_code == 201
    stack = shop.json()["resource_uri"]
    services = [{"name": "s0", "image": "a", "target_num_containers": 2}]
    refused(await eve.call("PATCH", stack, {"services": services}), field)
    assert (await eve.call("PATCH", web, {"target_num_containers": 3})).status_code == 200
    assert (await eve.call("PATCH", stack, {"services": services})).status_code in {200, 202}
    trigger = (await eve.call("POST", f"{web}trigger/", {"operation": "SCALEUP"})).json()
    called = await eve.office.http.post(trigger["url"])
    assert called.status_code == 400, called.text
    assert (await eve.call("GET", web)).json()["target_num_containers"] == 3


async def test_what_triggers_will_scale_is_counted_before_it_is_done(eve: Eve) -> None:
    await limit(eve, containers=3)
    web, other = await eve.made(target_num_containers=1), await eve.made(target_num_containers=0)
    trigger = (await eve.call("POST", f"{web}trigger/", {"operation": "SCALEUP"})).json()
    assert (await eve.call("POST", f"{web}start/")).status_code == 202
    for expected in (202, 202, 400):
        assert (await eve.office.http.post(trigger["url"])).status_code == expected
    # Two calls wait behind the start: nothing is left for another service.
    refused(await eve.call("PATCH", other, {"target_num_containers": 1}), "target_num_containers")


async def test_a_lower_quota_ends_nothing_but_lets_nothing_more_start(eve: Eve) -> None:
    web = await eve.made(target_num_containers=3)
    stack = (await eve.stack("shop", 1)).json()["resource_uri"]
    await limit(eve, services=1, containers=2)
    assert (await eve.call("GET", web)).json()["target_num_containers"] == 3
    answer = await eve.call("POST", f"{web}start/")
    assert list(answer.json()["fields"]) == ["services", "target_num_containers"]
    assert (await eve.call("GET", web)).json()["state"] == "Init"
    assert (await eve.call("POST", f"{stack}start/")).status_code == 400
    # What makes it no more is not refused: other variables, fewer containers.
    assert (await eve.call("PATCH", web, {"container_envvars": [{"key": "A", "value": "1"}]})).status_code == 200
    assert (await eve.call("PATCH", web, {"target_num_containers": 1})).status_code == 200
    assert (await eve.call("DELETE", stack)).status_code == 202
    assert (await eve.call("POST", f"{web}start/")).status_code == 202


async def test_a_service_on_every_node_counts_them(eve: Eve) -> None:
    nodes = [await eve.office.node(f"n{number}") for number in range(3)]
    for node in nodes[:2]:
        await eve.office.call("PATCH", f"{API}/node/{node}/", json={"tags": ["big"]})
    await limit(eve, containers=2)
    every = {"deployment_strategy": "EVERY_NODE"}
    assert "3 containers" in refused(await eve.service(**every), "target_num_containers")
    uri = await eve.made(**every, tags=["big"])
    refused(await eve.service(), "target_num_containers")
    refused(await eve.call("PATCH", uri, {"tags": []}), "target_num_containers")
    assert (await eve.call("DELETE", f"{uri}tags/big/")).status_code == 400
    assert (await eve.call("PATCH", uri, {"tags": ["big", "fast"]})).status_code == 200


async def test_memory_and_cpu_of_all_containers_have_a_limit(eve: Eve) -> None:
    old = await eve.made()
    await limit(eve, memory=1024, cpu_shares=2048)
    sized = {"memory": 256, "cpu_shares": 512}
    answer = await eve.service(**sized)
    assert list(answer.json()["fields"]) == ["memory", "cpu_shares"], answer.text
    assert "every service must say how much" in answer.json()["fields"]["memory"]
    assert (await eve.call("PATCH", old, sized)).status_code == 200
    web = await eve.made(**sized, target_num_containers=2)
    field = "the containers of eve might use 1280 MB of memory, the quota is 1024"
    answer = await eve.call("PATCH", web, {"target_num_containers": 4})
    assert list(answer.json()["fields"]) == ["memory", "cpu_shares"]
    assert field in answer.json()["fields"]["memory"]
    refused(await eve.call("PATCH", web, {"memory": 512}), "memory")
    assert (await eve.call("PATCH", web, {"memory": 128, "cpu_shares": 256})).status_code == 200
    assert (await eve.call("PATCH", web, {"target_num_containers": 4})).status_code == 200
    assert (await eve.call("POST", f"{web}start/")).status_code == 202


async def test_two_calls_at_once_do_not_both_get_the_last_one(eve: Eve) -> None:
    await limit(eve, services=3)
    answers = await asyncio.gather(*(eve.service() for _ in range(8)))
    codes = sorted(answer.status_code for answer in answers)
    made = await eve.office.count("services")
    # Names and networks that two want at once are refused too (409).
    assert (codes.count(201), made) == (made, made)
    assert made <= 3
    for _ in range(3):
        await eve.service()
    assert await eve.office.count("services") == 3


async def test_the_page_of_users_shows_it(eve: Eve) -> None:
    await limit(eve, services=1)
    users = (await eve.office.call("GET", f"{ADMIN}/user/")).json()["objects"]
    assert {each["username"]: each["quota"]["services"] for each in users} == {"admin": None, "eve": 1}
