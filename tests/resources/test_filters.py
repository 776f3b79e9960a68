"""Filters of the lists (spec 1.9, 4.2)."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest

from tests.resources.conftest import World

API = "/api/v1"


async def stack_of(world: World, service: str, name: str) -> str:
    """Put the service into a new stack."""
    stack = uuid4()
    async with world.db.transaction() as conn:
        await conn.execute(
            "INSERT INTO stacks (id, account_id, name, created_at)"
            " SELECT $1, account_id, $3, now() FROM services WHERE id = $2",
            stack,
            UUID(service),
            name,
        )
        await conn.execute("UPDATE services SET stack_id = $1 WHERE id = $2", stack, UUID(service))
    return str(stack)


async def found(world: World, path: str) -> list[str]:
    answer = await world.call("GET", f"{API}/{path}")
    assert answer.status_code == 200, answer.text
    return [each.get("unique_name") or each["uuid"] for each in answer.json()["objects"]]


async def test_services(world: World) -> None:
    web, db = await world.create(name="web", tags=["a", "b"]), await world.create(name="db", image="mysql:5.6")
    stack = await stack_of(world, db["uuid"], "shop")
    expected = {
        "stack__name=shop": ["db"],
        "stack__name__in=shop,other": ["db"],
        "stack__name__startswith=sh": ["db"],
        f"stack={API}/stack/{stack}/": ["db"],
        f"stack={stack}": ["db"],
        f"stack=http://host:8800{API}/stack/{stack}/": ["db"],
        f"stack={uuid4()}": [],
        "name=db&stack__name=other": [],
        "tags=b": ["web"],
        "tags=c": [],
        "image_name=mysql:5.6": ["db"],
        f"uuid__in={web['uuid']},{db['uuid']}": ["web", "db"],
        "stack=&state=": ["web", "db"],
        "state=init&name__contains=e": ["web"],
    }
    for query, names in expected.items():
        assert await found(world, f"service/?{query}") == names, query


async def test_containers(world: World) -> None:
    node, web, db = await world.node(), await world.create(name="web"), await world.create(name="db")
    stack = await stack_of(world, db["uuid"], "shop")
    for slot in (1, 2):
        await world.container(web["uuid"], node, slot)
    await world.container(db["uuid"], node)
    expected = {
        "name=web-1": ["web-1"],
        "name=web": ["web-1", "web-2"],  # by the service's name (spec 6 no. 14)
        "unique_name=web": [],
        "unique_name=web-2": ["web-2"],
        f"service={web['resource_uri']}": ["web-1", "web-2"],
        "service__name=db": ["db-1"],
        "service__stack__name=shop": ["db-1"],
        "name=db-1&service__stack__name=shop": ["db-1"],
        "name=web-1&service__stack__name=shop": [],
        f"stack={API}/stack/{stack}/": ["db-1"],
        f"node={node}": ["web-1", "web-2", "db-1"],
        f"node={uuid4()}": [],
        "image_name=tutum/hello-world:latest&name__startswith=db": ["db-1"],
    }
    for query, names in expected.items():
        assert await found(world, f"container/?{query}") == names, query


async def test_a_container_that_lives_hides_those_before_it(world: World) -> None:
    node, web = await world.node(), await world.create(name="web")
    first = await world.container(web["uuid"], node)
    await world.end(first)
    listed = (await world.call("GET", f"{API}/container/?name=web-1")).json()["objects"]
    assert [each["uuid"] for each in listed] == [first]
    second = await world.container(web["uuid"], node)
    for query in ("name=web-1", "unique_name=web-1", "name=web"):
        listed = (await world.call("GET", f"{API}/container/?{query}")).json()["objects"]
        assert [each["uuid"] for each in listed] == [second], query
        # Unless a state is asked for, live or not.
        listed = (await world.call("GET", f"{API}/container/?{query}&state=Terminated")).json()["objects"]
        assert [each["uuid"] for each in listed] == [first], query
    assert await ids(world, f"container/?name=web-1&uuid={first}") == [first]
    assert (await world.call("GET", f"{API}/container/")).json()["meta"]["total_count"] == 2


async def ids(world: World, path: str) -> list[str]:
    return [each["uuid"] for each in (await world.call("GET", f"{API}/{path}")).json()["objects"]]


async def test_what_lives_in_another_stack_hides_nothing(world: World) -> None:
    node, old, web = await world.node(), await world.create(name="web"), await world.create(name="web")
    await stack_of(world, old["uuid"], "shop")
    await stack_of(world, web["uuid"], "other")
    async with world.db.transaction() as conn:
        await conn.execute("UPDATE services SET unique_name = 'web'")
    gone, there = await world.container(old["uuid"], node), await world.container(web["uuid"], node)
    await world.end(gone)
    async with world.db.transaction() as conn:
        await conn.execute("UPDATE services SET want = 'TERMINATED' WHERE id = $1", UUID(old["uuid"]))
    for name in ("name=web", "unique_name=web"):
        assert await ids(world, f"service/?{name}&stack__name=shop") == [old["uuid"]], name
        assert await ids(world, f"service/?{name}&stack__name=other") == [web["uuid"]], name
        assert await ids(world, f"service/?{name}") == [web["uuid"]], name
    for name in ("name=web", "name=web-1", "unique_name=web-1"):
        assert await ids(world, f"container/?{name}&service__stack__name=shop") == [gone], name
        assert await ids(world, f"container/?{name}&service__stack__name=other") == [there], name
        assert await ids(world, f"container/?{name}") == [there], name


async def test_nodes(world: World) -> None:
    one, two = await world.node("n1"), await world.node("n2", up=False)
    await world.call("PATCH", f"{API}/node/{two}/", json={"tags": ["ssd"], "nickname": "big"})
    expected = {
        "state=deployed": [one],
        "state=Unreachable": [two],
        "tags=ssd": [two],
        "nickname=n1": [one],
        "nickname=big": [two],
        "name=n2": [two],
        "external_fqdn__contains=n": [one, two],
        "docker_version=20.10.24": [one],
        f"node_cluster={API}/nodecluster/{uuid4()}/": [],
        f"node_type={API}/nodetype/aws/m3/": [],
        "region=x": [],
    }
    for query, names in expected.items():
        assert await found(world, f"node/?{query}") == names, query


async def test_actions_of_an_object_and_its_relatives(world: World) -> None:
    node, web, db = await world.node(), await world.create(name="web"), await world.create(name="db")
    stack = await stack_of(world, web["uuid"], "shop")
    container = await world.container(web["uuid"], node)
    await world.call("POST", f"{API}/container/{container}/start/")  # refused: its service was never started
    await world.call("POST", f"{API}/service/{web['uuid']}/stop/")

    async def verbs(query: str) -> list[str]:
        answer = await world.call("GET", f"{API}/action/?{query}")
        assert answer.status_code == 200, answer.text
        return [each["action"] for each in answer.json()["objects"]]

    own, all_of_it = ["Service Stop", "Service Create"], ["Service Stop", "Container Start", "Service Create"]
    assert await verbs(f"object={web['resource_uri']}") == own
    assert await verbs(f"object={web['uuid']}") == own
    assert await verbs(f"object={web['resource_uri']}&include_related=False") == own
    for uri in (web["resource_uri"], f"{API}/container/{container}/", f"{API}/stack/{stack}/"):
        assert await verbs(f"object={uri}&include_related=True") == all_of_it, uri
    assert await verbs(f"object={db['uuid']}&include_related=true") == ["Service Create"]
    assert await verbs("include_related=true&method=POST&action=Container Start") == ["Container Start"]
    for text in ("foo", "/", f"{API}/service/nope/", f"{API}/service/{web['uuid']}/logs/", "service"):
        assert await verbs(f"object={text}&include_related=true") == [], text
        assert await verbs(f"object={text}") == [], text
    other = await world.user("other", "k2")
    path = f"{API}/action/?object={web['resource_uri']}&include_related=true"
    assert (await world.call("GET", path, headers=other)).json()["objects"] == []


@pytest.mark.parametrize("since", ["2014-01-01", "2014-10-13T11:01:43", "Mon, 13 Oct 2014 11:01:43 %2B0000"])
async def test_dates_in_three_forms(world: World, since: str) -> None:
    await world.create()
    for query, count in ((f"start_date__gte={since}", 1), (f"end_date__lte={since}", 0)):
        answer = await world.call("GET", f"{API}/action/?{query}")
        assert answer.json()["meta"]["total_count"] == count, answer.text


KINDS = ("service", "container", "action", "node", "volume", "volumegroup", "image", "tag", "registry", "provider",
         "region", "nodetype", "az", "nodecluster", "repository")  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("query", ["foo=1", "name__regex=a", "uuid__gt=x", "__=1", "state__startswith=R", "limit=0"])
async def test_an_unknown_filter_is_an_error(world: World, kind: str, query: str) -> None:
    answer = await world.call("GET", f"{API}/{kind}/?{query}")
    assert answer.status_code == (200 if kind in CLOUD and query.startswith("state__") else 400)
    if answer.status_code == 400:
        assert list(answer.json()["fields"]) == [query.partition("=")[0]]


CLOUD = {"provider", "region", "nodetype", "az", "nodecluster", "repository"}


@pytest.mark.parametrize(
    ("kind", "query"),
    [
        ("service", "state=Bogus"), ("volume", "state=Running"), ("service", "stack=web"), ("volume", "node=n1"),
        ("image", "is_private_image=maybe"), ("action", "include_related=maybe"), ("container", "service=web"),
    ],
)  # fmt: skip
async def test_a_value_that_cannot_be(world: World, kind: str, query: str) -> None:
    answer = await world.call("GET", f"{API}/{kind}/?{query}")
    assert (answer.status_code, list(answer.json()["fields"])) == (400, [query.partition("=")[0]])
