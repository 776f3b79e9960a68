"""Which form a link has between two hosts, and what a client is told in each (spec 3.3). Pure."""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from app.settings import Settings
from domain.container import BoundPort
from domain.links import LinkTarget, client_environment, seen_through, source_of
from domain.networks import (
    NETWORK_POOL,
    OVERLAY_POOL,
    Fleet,
    Form,
    NetworkMode,
    overlay_subnet,
    swarm_pool,
    usable_address,
)
from domain.node import Candidate, NodeState
from domain.service import Verb
from domain.spec import Transport
from orchestrator.planning.explain import explain
from orchestrator.planning.view import LinkedService
from tests.planning.model import POLICY, World, a_service, number

A, B, C = number(11), number(12), number(13)
REACH = {A: "10.0.0.1", B: "10.0.0.2", C: "n3"}


@pytest.mark.parametrize(
    ("mode", "overlay", "client", "target", "form"),
    [
        (NetworkMode.OVERLAY, {A, B}, A, B, Form.OVERLAY),
        (NetworkMode.OVERLAY, {A, B}, A, A, Form.OVERLAY),
        (NetworkMode.OVERLAY, {A}, A, B, Form.PORTS),
        (NetworkMode.OVERLAY, set(), A, A, Form.BRIDGE),
        (NetworkMode.PORTS, set(), A, B, Form.PORTS),
        (NetworkMode.PORTS, set(), A, A, Form.BRIDGE),
        (NetworkMode.LOCAL, set(), A, B, Form.NONE),
        (NetworkMode.LOCAL, set(), A, A, Form.BRIDGE),
    ],
)
def test_the_form_between_two_hosts(
    mode: NetworkMode, overlay: set[UUID], client: UUID, target: UUID, form: Form
) -> None:
    assert Fleet(mode=mode, overlay=frozenset(overlay), reach=REACH).form(client, target) is form


def test_what_a_service_shows_is_what_containers_elsewhere_get() -> None:
    assert Fleet(mode=NetworkMode.PORTS, reach={A: "10.0.0.1"}).general(A) is Form.BRIDGE
    assert Fleet(mode=NetworkMode.PORTS, reach=REACH).general(A) is Form.PORTS
    assert Fleet(mode=NetworkMode.LOCAL, reach=REACH).general(A) is Form.NONE
    mixed = Fleet(overlay=frozenset({A, B}), reach=REACH)
    assert [mixed.general(each) for each in (A, B, C)] == [Form.OVERLAY, Form.OVERLAY, Form.PORTS]


def target_of(port: int | None, inner: int = 80) -> World:
    """A service `web` with one container on B; its port is published as `port`."""
    world = World(a_service(target=1), nodes=fleet(B))
    world.operate(Verb.START)
    world.run()
    (row,) = world.open_rows()
    ports = (BoundPort(protocol=Transport.TCP, inner_port=inner, outer_port=port),)
    world.rows[row.id] = replace(row, spec=replace(row.spec, ports=ports))
    return world


def fleet(*ids: UUID, overlay: bool = False) -> tuple[Candidate, ...]:
    return tuple(
        Candidate(node_id=each, name=f"n-{n}", state=NodeState.DEPLOYED, reach=REACH[each], overlay=overlay)
        for n, each in enumerate(ids)
    )


def variables(world: World, form: Form, domain: str = "") -> dict[str, str]:
    (row,) = world.open_rows()
    found = seen_through(source_of(row, Fleet(reach=REACH, domain=domain), "admin"), form)
    return dict(client_environment([LinkTarget(alias="db", api_url="http://x/", sources=(found,))]))


def test_without_a_shared_network_a_published_port_is_at_its_host() -> None:
    found = variables(target_of(49153), Form.PORTS)
    assert found["DB_1_PORT_80_TCP"] == "tcp://10.0.0.2:49153"
    assert (found["DB_PORT_80_TCP_ADDR"], found["DB_PORT_80_TCP_PORT"]) == ("10.0.0.2", "49153")
    assert variables(target_of(49153), Form.BRIDGE)["DB_1_PORT_80_TCP"] == "tcp://web-1:80"


def test_with_a_domain_the_address_is_the_seeds() -> None:
    found = variables(target_of(49153), Form.PORTS, "paas.example")
    assert found["DB_PORT"] == f"tcp://web-1.{str(B)[:8]}-admin.node.paas.example:49153"


def test_what_is_not_published_is_left_out_without_a_shared_network() -> None:
    for form in (Form.PORTS, Form.NONE):
        assert set(variables(target_of(None), form)) == {"DB_TUTUM_API_URL"}
    assert set(variables(target_of(49153), Form.NONE)) == {"DB_TUTUM_API_URL"}
    assert variables(target_of(None), Form.OVERLAY)["DB_PORT"] == "tcp://web-1:80"


def client(*, overlay: bool) -> World:
    """A client of `db`, which has a container on B; the client is on A."""
    (row,) = target_of(49153).open_rows()
    link = LinkedService(
        alias="db",
        service_id=number(9),
        unique_name="db",
        subnet="10.192.9.0/24",
        sources=(source_of(row, Fleet(reach=REACH), "admin"),),
    )
    far = tuple(replace(each, cordoned=each.node_id == B) for each in fleet(A, B, overlay=overlay))
    world = World(a_service(target=1), nodes=far, linked=(link,))
    world.operate(Verb.START)
    world.run()
    return world


def test_a_client_on_another_host_is_told_of_ports_or_names() -> None:
    (row,) = client(overlay=False).open_rows()
    assert dict(row.spec.link_env)["DB_PORT_80_TCP"] == "tcp://10.0.0.2:49153"
    assert {each.network.name for each in row.networks} == {f"tutela-{number(1)}", f"tutela-{number(9)}"}
    (row,) = client(overlay=True).open_rows()
    assert dict(row.spec.link_env)["DB_PORT_80_TCP"] == "tcp://web-1:80"
    assert {each.network.name for each in row.networks} == {
        f"tutela-{number(1)}-overlay",
        f"tutela-{number(9)}-overlay",
    }
    assert [each.network.subnet for each in row.networks] == ["10.176.0.0/24", "10.176.9.0/24"]


def test_a_container_moves_to_the_overlay_in_place() -> None:
    world = client(overlay=False)
    (before,) = world.open_rows()
    world.nodes = tuple(replace(each, overlay=True) for each in world.nodes)
    world.run()
    (after,) = world.open_rows()
    assert after.id == before.id
    assert after.spec == before.spec
    assert all(each.network.overlay for each in after.networks)
    assert [each.links for each in after.networks] == [each.links for each in before.networks]


def test_explain_says_which_form_is_in_use() -> None:
    world = client(overlay=False)
    world.nodes = tuple(replace(each, network_note="its engine is in another swarm") for each in world.nodes)
    (story,) = explain(world.view(), POLICY, {})
    assert (story.network, story.network_note) == (Form.BRIDGE, "its engine is in another swarm")
    assert [(each.name, each.form) for each in story.links] == [("db", Form.PORTS)]
    (story,) = explain(client(overlay=True).view(), POLICY, {})
    assert (story.network, [each.form for each in story.links]) == (Form.OVERLAY, [Form.OVERLAY])


@given(st.integers(0, 4095))
def test_overlays_have_blocks_of_their_own_at_the_same_place(block: int) -> None:
    subnet = f"{ipaddress.IPv4Address(int(ipaddress.IPv4Address('10.192.0.0')) + block * 256)}/24"
    found = ipaddress.IPv4Network(overlay_subnet(subnet, NETWORK_POOL, OVERLAY_POOL))
    assert found.subnet_of(ipaddress.IPv4Network(OVERLAY_POOL))
    assert not found.overlaps(ipaddress.IPv4Network(NETWORK_POOL))
    assert (int(found.network_address) >> 8) & 0xFFF == block


def test_a_block_of_an_older_pool_is_left_to_the_engine() -> None:
    assert overlay_subnet("172.20.0.0/24", NETWORK_POOL, OVERLAY_POOL) == ""
    assert overlay_subnet("10.193.0.0/24", NETWORK_POOL, "10.100.0.0/20") == ""


def test_swarms_own_pool_is_off_ours_and_off_the_hosts() -> None:
    pools = (NETWORK_POOL, OVERLAY_POOL)
    assert swarm_pool(pools, ("10.0.0.1", "")) == "10.175.240.0/20"
    assert swarm_pool(pools, ("10.175.241.9",)) == "172.31.240.0/20"
    assert swarm_pool(("10.160.0.0/11",), ("172.31.240.1",)) == "192.168.240.0/20"
    assert swarm_pool(("10.160.0.0/11", "192.168.0.0/16"), ("172.31.240.1",)) == "10.255.240.0/20"
    assert swarm_pool(("0.0.0.0/0",), ()) == "10.255.240.0/20", "none is off all of them: the least used one"


def test_the_setting_is_one_of_three_and_the_pools_are_apart() -> None:
    assert Settings().network is NetworkMode.OVERLAY
    with pytest.raises(ValidationError, match="network"):
        Settings(network="mesh")
    with pytest.raises(ValidationError, match="overlap"):
        Settings(overlay_pool="10.192.0.0/16")


def test_where_the_control_planes_own_host_is_reached() -> None:
    assert Settings().own_address == ""
    assert Settings(agent_host="10.1.2.3").own_address == "10.1.2.3"
    assert Settings(agent_host="0.0.0.0", agent_url="wss://10.1.2.4:8801").own_address == "10.1.2.4"


def test_addresses_that_are_of_no_use_to_others() -> None:
    assert usable_address("10.1.2.3")
    for text in ("127.0.0.1", "0.0.0.0", "169.254.1.1", "host", "", "::1", "224.0.0.1"):
        assert not usable_address(text)
