"""Where services and containers say that they are reached, without names of a public domain (spec 3.9)."""

from __future__ import annotations

from uuid import UUID

from app.settings import Settings
from tests.resources.conftest import World

API = "/api/v1"
PORT = {"protocol": "tcp", "inner_port": 80, "outer_port": 8080}


async def address(world: World, node: str, text: str, *, said: str = "") -> None:
    """What the node's agent found to be its own address, and what operators say."""
    async with world.db.transaction() as conn:
        await conn.execute("UPDATE nodes SET address = $2, public_ip = $3 WHERE id = $1", UUID(node), text, said)


async def reached(world: World, service: str, container: str) -> tuple[str, str, str]:
    """What the container says, the service, and the service's published port."""
    one = (await world.call("GET", f"{API}/container/{container}/")).json()
    whole = (await world.call("GET", f"{API}/service/{service}/")).json()
    (listed,) = (await world.call("GET", f"{API}/service/")).json()["objects"]
    assert listed == whole
    return one["public_dns"], whole["public_dns"], whole["container_ports"][0]["endpoint_uri"]


async def test_it_is_the_address_of_the_containers_host(world: World) -> None:
    first, second = await world.node("n1"), await world.node("n2")
    service = (await world.create(name="web", container_ports=[PORT]))["uuid"]
    container = await world.container(service, second)
    assert await reached(world, service, container) == ("127.0.0.1", "127.0.0.1", "http://127.0.0.1:8080/")
    await address(world, first, "10.0.0.1")
    await address(world, second, "10.0.0.2")
    assert await reached(world, service, container) == ("10.0.0.2", "10.0.0.2", "http://10.0.0.2:8080/")
    await address(world, second, "10.0.0.2", said="2001:db8::2")
    assert await reached(world, service, container) == ("2001:db8::2", "2001:db8::2", "http://[2001:db8::2]:8080/")


async def test_the_control_planes_host_has_the_public_name_while_it_is_alone(world: World) -> None:
    world.app.state.settings = Settings(public_url="http://paas.example:8800", agent_host="10.0.0.1")
    node = await world.node("local")
    await address(world, node, "10.0.0.1")
    service = (await world.create(name="web", container_ports=[PORT]))["uuid"]
    container = await world.container(service, node)
    assert await reached(world, service, container) == ("paas.example", "paas.example", "http://paas.example:8080/")
    await world.node("n2")
    assert await reached(world, service, container) == ("10.0.0.1", "10.0.0.1", "http://10.0.0.1:8080/")


async def test_a_host_that_is_alone_and_elsewhere_has_its_own_address(world: World) -> None:
    node = await world.node("n1")
    await address(world, node, "10.0.0.2")
    service = (await world.create(name="web", container_ports=[PORT]))["uuid"]
    container = await world.container(service, node)
    assert await reached(world, service, container) == ("10.0.0.2", "10.0.0.2", "http://10.0.0.2:8080/")
