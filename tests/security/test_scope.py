"""Objects of another account are not there, whoever asks and however (S5): a matrix over the routes themselves."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import pytest

from app.api.rights import right_of
from domain.access import Right
from tests.admin.conftest import ADMIN, Office
from tests.api.client import API
from tests.security import routes
from tests.security.conftest import fresh

SHARED = ("node", "provider", "region", "nodetype", "az", "nodecluster", "repository", "registry")
"""Of the installation, not of an account."""


@dataclass(frozen=True, kw_only=True)
class Owned:
    """What the victim has: the name that a path has for it, and the values."""

    who: dict[str, str]
    service: dict[str, Any]
    values: dict[str, str]


def kind_of(path: str) -> str:
    return path.removeprefix("/api/v1/").split("/", 1)[0]


PRIVATE = [(method, path) for method, path in routes.http()
           if "{" in path and kind_of(path) not in SHARED and not path.startswith("/api/v1/admin/")]  # fmt: skip


@pytest.fixture(scope="module")
async def owned(shared_office: Office) -> Owned:
    office = shared_office
    name = fresh("victim")
    who = await office.hire(name)
    service = (await office.call("POST", f"{API}/service/", headers=who, json={
        "image": "a", "name": "prey", "bindings": [{"container_path": "/data"}], "tags": [{"name": "secret-tag"}],
    })).json()  # fmt: skip
    node = await office.node(fresh("n"))
    container = await office.container(service["uuid"], node, path="/data")
    trigger = (await office.call("POST", f"{service['resource_uri']}trigger/", headers=who, json={})).json()
    body = {"name": "prey-stack", "services": [{"name": "x", "image": "a"}]}
    stack = (await office.call("POST", f"{API}/stack/", headers=who, json=body)).json()
    image = {"name": f"registry.example.test/{fresh('prey')}"}
    assert (await office.call("POST", f"{API}/image/", headers=who, json=image)).status_code == 201
    volume = (await office.call("GET", f"{API}/volume/", headers=who)).json()["objects"][0]
    group = (await office.call("GET", f"{API}/volumegroup/", headers=who)).json()["objects"][0]
    action = (await office.call("GET", f"{API}/action/", headers=who)).json()["objects"][0]
    key = (await office.call("GET", f"{API}/auth/key/", headers=who)).json()["objects"][0]
    values = {
        "service": service["uuid"], "container": container, "trigger": trigger["uuid"], "stack": stack["uuid"],
        "image": image["name"], "volume": volume["uuid"], "volumegroup": group["uuid"], "action": action["uuid"],
        "key": key["uuid"],
    }  # fmt: skip
    return Owned(who=who, service=service, values=values)


def filled(path: str, values: dict[str, str]) -> str:
    more = {
        "uuid": values.get(kind_of(path), ""), "trigger": values["trigger"], "key": values["key"], "tag": "latest",
        "name": values["image"] if kind_of(path) == "image" else "secret-tag", "setting": "1", "count": "1",
    }  # fmt: skip
    return re.sub(r"{(\w+)}", lambda found: more[found[1]], path)


@pytest.mark.parametrize("role", ["read-only", "member", "admin"])
async def test_nobody_reaches_an_object_of_another_account(office: Office, owned: Owned, role: str) -> None:
    who = await office.hire(fresh("eve"), role)
    before = (await office.call("GET", owned.service["resource_uri"], headers=owned.who)).json()
    checked = 0
    for method, path in PRIVATE:
        right = right_of(method, path)
        if right is Right.OPEN or path.endswith("/tag/{tag}/"):
            continue  # a trigger's address is its secret; a tag is told of any image in the world, by what one ran
        answer = await office.call(
            method, filled(path, owned.values), headers=who, json=None if method == "GET" else {}
        )
        denied = role == "read-only" and right is not Right.READ
        wanted = {403} if denied else {404}
        if not denied and kind_of(path) == "image":
            wanted = {400, 404}  # what is built is refused whatever it is about
        assert answer.status_code in wanted, (method, path, answer.text)
        checked += 1
    assert checked > 45
    assert (await office.call("GET", owned.service["resource_uri"], headers=owned.who)).json() == before


async def test_the_owner_reaches_all_of_them(office: Office, owned: Owned) -> None:
    """The matrix above would pass with wrong paths as well."""
    for method, path in PRIVATE:
        if method == "GET" and "buildsetting" not in path and "/tag/" not in path and not path.endswith("logs/"):
            answer = await office.call("GET", filled(path, owned.values), headers=owned.who)
            assert answer.status_code == 200, (path, answer.text)


async def test_nested_names_do_not_lead_there(office: Office, owned: Owned) -> None:
    """Under one's own service: another's trigger, and an object of another as a link, for volumes, in a stack."""
    who = await office.hire(fresh("eve"))
    mine = (await office.call("POST", f"{API}/service/", headers=who, json={"image": "a", "name": "mine"})).json()
    uri, prey = mine["resource_uri"], owned.service
    for kind in ("trigger", "webhook/handler"):
        for method in ("GET", "DELETE"):
            path = f"{uri}{kind}/{owned.values['trigger']}/"
            assert (await office.call(method, path, headers=who)).status_code == 404, path
    call = f"{uri}trigger/{owned.values['trigger']}/call/"
    assert (await office.call("POST", call, headers=who)).status_code == 404
    names = (prey["resource_uri"], prey["uuid"])
    for each in (*names, "prey", prey["unique_name"]):
        linked = {"linked_to_service": [{"to_service": each, "name": "db"}]}
        assert (await office.call("PATCH", uri, headers=who, json=linked)).status_code == 400, each
        created = {"image": "a", **linked}
        assert (await office.call("POST", f"{API}/service/", headers=who, json=created)).status_code == 400, each
        stack = {"name": fresh("s"), "services": [{"name": "x", "image": "a", "links": [f"{each}:db"]}]}
        assert (await office.call("POST", f"{API}/stack/", headers=who, json=stack)).status_code == 400, each
        stack = {"name": fresh("s"), "services": [{"name": "x", "image": "a", "volumes_from": [each]}]}
        assert (await office.call("POST", f"{API}/stack/", headers=who, json=stack)).status_code == 400, each
    lent = {"bindings": [{"volumes_from": prey["resource_uri"]}]}
    assert (await office.call("PATCH", uri, headers=who, json=lent)).status_code == 400
    assert (await office.call("POST", f"{API}/service/", headers=who, json={"image": "a", **lent})).status_code == 400


async def test_lists_and_their_filters_show_nothing_of_others(office: Office, owned: Owned) -> None:
    who = await office.hire(fresh("eve"), "admin")
    values = owned.values
    filters = {
        "service": ["name=prey", f"uuid={values['service']}", f"uuid__startswith={values['service'][:8]}",
                    "tags=secret-tag"],
        "container": [f"service={values['service']}", f"uuid={values['container']}", "name=prey-1"],
        "stack": ["name=prey-stack", f"uuid={values['stack']}"],
        "action": [f"object={owned.service['resource_uri']}", f"uuid={values['action']}"],
        "image": [f"name={values['image']}"],
        "volume": [f"uuid={values['volume']}"],
        "volumegroup": [f"uuid={values['volumegroup']}"],
        "tag": ["name=secret-tag"],
    }  # fmt: skip
    secrets = {value for name, value in values.items() if name != "key"} | {"secret-tag", "prey-stack"}
    for kind, queries in filters.items():
        for query in ("", *queries):
            answer = await office.call("GET", f"{API}/{kind}/?{query}", headers=who)
            if answer.status_code == 400:
                continue  # no such filter here
            assert answer.status_code == 200
            shown = answer.text if query == "" else str(answer.json()["objects"])
            assert not [each for each in secrets if each in shown], (kind, query)
            assert kind == "action" or answer.json()["meta"]["total_count"] == 0, (kind, query)
            own = (await office.call("GET", f"{API}/{kind}/?{query}", headers=owned.who)).json()
            assert own["meta"]["total_count"] > 0, (kind, query)


async def test_an_admin_sees_of_others_what_the_office_shows_and_no_more(office: Office, owned: Owned) -> None:
    """Queue, audit and health name objects; none of them shows what is in them."""
    for what in ("queue", "audit", "health", "reconciler"):
        text = (await office.call("GET", f"{ADMIN}/{what}/")).text
        assert owned.values["trigger"] not in text
        assert "container_envvars" not in text
