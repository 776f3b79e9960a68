"""What one container is made of: names, networks, ports, and what it is told of itself (spec 2.3-2.7, 3.8, 3.9)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from domain.container import ContainerSpec
from domain.image import ImagePort, ResolvedImage
from domain.links import Source
from domain.service import Operation, Verb
from domain.spec import PortSpec, ServiceSpec, Transport
from orchestrator.planning.render import (
    PASSED_ON,
    attachments,
    container_spec,
    effective_ports,
    expanded,
    first_of_more_names,
)
from orchestrator.planning.steps import Plan, TakeVolumes, render, waiting
from orchestrator.planning.view import Installation, LinkedService, ServiceView
from tests.planning.model import INSTALLATION, NODE, START, World, a_service, number

TCP, UDP = Transport.TCP, Transport.UDP
IMAGE = ResolvedImage(reference="i", image_id="sha256:1", digest="i@sha256:1", env=(("I", "1"),))
THIS = number(77)


def view(spec: ServiceSpec | None = None, *linked: LinkedService, **service: object) -> ServiceView:
    return World(a_service(spec=spec or ServiceSpec(image="i"), **service), linked=linked).view()


def made(of: ServiceView, slot: int = 1) -> ContainerSpec:
    return container_spec(of, slot=slot, container_id=THIS, node=NODE, image=IMAGE, ports=())


def linked(alias: str = "DB", n: int = 7, name: str = "mysql", **more: object) -> LinkedService:
    base = LinkedService(alias=alias, service_id=number(n), unique_name=name, subnet=f"10.0.{n}.0/24", sources=())
    return replace(base, **more)  # type: ignore[arg-type]


def test_the_users_ports_and_those_of_the_image_that_the_user_did_not_name() -> None:
    asked = (
        PortSpec(protocol=TCP, inner_port=80, outer_port=8080, published=True),
        PortSpec(protocol=TCP, inner_port=53),
    )
    image = replace(IMAGE, ports=tuple(ImagePort(protocol=kind, port=port) for kind, port in ((TCP, 80), (UDP, 53))))
    assert effective_ports(asked, image) == (*asked, PortSpec(protocol=UDP, inner_port=53))


def test_a_containers_names_on_its_services_network() -> None:
    (own,) = attachments(view(), "web-1", 1, NODE)
    assert (own.aliases, own.links) == (("web-1", "web_1", "web"), ())
    (own,) = attachments(view(stack="shop"), "web-1", 1, NODE)
    assert own.aliases == ("web-1", "web_1", "web", "web-1.shop", "web.shop")
    assert attachments(view(ServiceSpec(image="i", net="host")), "web-1", 1, NODE) == ()


def test_names_of_a_link_are_made_for_more_slots_than_there_are() -> None:
    def names(target: int) -> list[str]:
        _, joined = attachments(view(None, linked(target=target)), "web-1", 1, NODE)
        return [name for _, name in joined.links]

    assert names(1) == names(4) == ["db", "db-1", "db_1", "db-2", "db_2", "db-3", "db_3", "db-4", "db_4"]
    assert [len(names(target)) for target in (5, 8, 9)] == [17, 17, 33]


def test_two_links_to_one_service_are_one_network_and_a_link_to_itself_is_none() -> None:
    both = view(None, linked("b"), linked("a"), linked("me", 1, "web"))
    own, joined = attachments(both, "web-1", 1, NODE)
    assert own.network.service_id == number(1)
    assert joined.network.service_id == number(7)
    assert [pair for pair in joined.links if pair[0] == "mysql"] == [("mysql", "a"), ("mysql", "b")]
    (_, same) = attachments(view(None, linked("mysql")), "web-1", 1, NODE)
    assert ("mysql", "mysql") not in same.links
    assert ("mysql-1", "mysql_1") in same.links
    assert ("mysql-1", "mysql-1") not in same.links


def test_the_definition_is_frozen_as_it_is_now() -> None:
    spec = ServiceSpec(
        image="i",
        entrypoint="/bin/sh -c",
        run_command="echo 'a b'",
        hostname="own",
        env=(("A", "${TUTUM_SERVICE_HOSTNAME}/$TUTUM_CONTAINER_HOSTNAME"), ("B", "$TUTUM_NOTHING $HOME")),
        roles=("global",),
        pid="host",
    )
    found = made(view(spec), 2)
    assert (found.image, found.image_id, found.image_digest, found.image_env) == (
        "i", "sha256:1", "i@sha256:1", (("I", "1"),),
    )  # fmt: skip
    assert (found.entrypoint, found.command, found.hostname) == (("/bin/sh", "-c"), ("echo", "a b"), "own")
    assert found.user_env == (("A", "web/web-2"), ("B", "$TUTUM_NOTHING $HOME"))
    assert (found.token, found.host_pid, found.host_network) == (True, True, False)
    plain = made(view(ServiceSpec(image="i", net="host", roles=("other",))), 2)
    assert (plain.entrypoint, plain.command, plain.hostname) == (None, None, "web-2")
    assert (plain.token, plain.host_pid, plain.host_network) == (False, False, True)


@pytest.mark.parametrize("name", PASSED_ON)
def test_what_is_passed_on_as_it_is(name: str) -> None:
    values: dict[str, object] = {"memory": 64, "cpu_shares": 512, "labels": (("a", "b"),), "tty": True}
    default = getattr(ServiceSpec(image="i"), name)
    value = values.get(name, True if default is False else ("x",) if default == () else "x")
    spec = replace(ServiceSpec(image="i"), **{name: value})  # type: ignore[arg-type]
    assert getattr(made(view(spec)), name) == value


def test_what_a_container_is_told_of_itself() -> None:
    assert dict(made(view(), 2).self_env) == {
        "TUTUM_SERVICE_API_URI": f"/api/v1/service/{number(1)}/",
        "TUTUM_SERVICE_API_URL": f"http://api.test/api/v1/service/{number(1)}/",
        "TUTUM_CONTAINER_API_URI": f"/api/v1/container/{THIS}/",
        "TUTUM_CONTAINER_API_URL": f"http://api.test/api/v1/container/{THIS}/",
        "TUTUM_NODE_API_URI": f"/api/v1/node/{NODE}/",
        "TUTUM_NODE_API_URL": f"http://api.test/api/v1/node/{NODE}/",
        "TUTUM_SERVICE_HOSTNAME": "web",
        "TUTUM_CONTAINER_HOSTNAME": "web-2",
        "TUTUM_NODE_HOSTNAME": "n1",
        "TUTUM_REST_HOST": "http://api.test",
        "TUTUM_STREAM_HOST": "ws://api.test",
    }


def test_names_are_told_where_names_are_served() -> None:
    of = replace(view(stack="shop"), installation=replace(INSTALLATION, public_domain="example.test"))
    told = dict(made(of).self_env)
    assert told["TUTUM_STACK_NAME"] == "shop"
    assert told["TUTUM_SERVICE_FQDN"] == "web.shop.admin.svc.example.test"
    assert told["TUTUM_CONTAINER_FQDN"] == "web-1.shop.admin.cont.example.test"
    assert told["TUTUM_NODE_FQDN"] == "00000000-admin.node.example.test"
    alone = dict(made(replace(of, service=a_service(spec=of.service.spec))).self_env)
    assert alone["TUTUM_CONTAINER_FQDN"] == "web-1.admin.cont.example.test"
    assert "TUTUM_STACK_NAME" not in alone


def test_a_triggers_body_reaches_what_it_made() -> None:
    under_way = Operation(verb=Verb.REDEPLOY, actions=(number(9),), since=START, trigger_body="hello")
    assert dict(made(view(operation=under_way)).self_env)["TUTUM_TRIGGER_BODY"] == "hello"
    empty = replace(under_way, trigger_body="")
    assert dict(made(view(operation=empty)).self_env)["TUTUM_TRIGGER_BODY"] == ""
    assert "TUTUM_TRIGGER_BODY" not in dict(made(view(operation=replace(under_way, trigger_body=None))).self_env)


def test_a_node_that_is_not_known_has_no_name() -> None:
    assert dict(made(replace(view(), nodes=())).self_env)["TUTUM_NODE_HOSTNAME"] == ""


@pytest.mark.parametrize(
    ("port", "address", "gateway", "url"),
    [
        (None, "", "10.0.0.1", "http://api.test"),
        (9000, "", "10.0.0.1", "http://10.0.0.1:9000"),
        (9000, "192.0.2.1", "10.0.0.1", "http://192.0.2.1:9000"),
        (9000, "", "", "http://api.test"),
        (None, "192.0.2.1", "", "http://api.test"),
    ],
)
def test_the_api_as_containers_reach_it(port: int | None, address: str, gateway: str, url: str) -> None:
    settings = Installation(api_url="http://api.test", stream_url="x", inside_port=port, inside_address=address)
    assert settings.inside_url(gateway) == url
    of = view()
    of = replace(of, installation=settings, nodes=tuple(replace(node, gateway=gateway) for node in of.nodes))
    told = dict(made(of).self_env)
    assert (told["TUTUM_REST_HOST"], told["TUTUM_STREAM_HOST"]) == (url, url.replace("http", "ws"))


def test_what_is_unknown_in_a_value_stays_as_it_is() -> None:
    own = {"TUTUM_A": "1", "TUTUM_A_B": "2"}
    assert expanded("$TUTUM_A ${TUTUM_A_B} $TUTUM_C ${TUTUM_A $A", own) == "1 2 $TUTUM_C ${TUTUM_A $A"
    assert expanded("", own) == ""


def test_containers_of_a_sequential_service_know_those_before_them() -> None:
    spec = ServiceSpec(image="tutela/web:latest", sequential_deployment=True, env=(("A", "1"),))
    world = World(a_service(spec=spec, target=3))
    world.operate(Verb.START)
    world.run()
    told = {row.slot: dict(row.spec.link_env) for row in world.open_rows()}
    assert told == {1: {}, 2: {"WEB_1_ENV_A": "1"}, 3: {"WEB_1_ENV_A": "1", "WEB_2_ENV_A": "1"}}
    leaving = next(row for row in world.open_rows() if row.slot == 1)
    world.rows[leaving.id] = replace(leaving, leaving=True)
    assert dict(made(world.view(), 2).link_env) == {}
    assert dict(made(world.view(), 3).link_env) == {"WEB_2_ENV_A": "1"}
    plain = replace(world.service, spec=replace(spec, sequential_deployment=False))
    assert dict(made(replace(world.view(), service=plain), 3).link_env) == {}


def test_a_link_of_the_same_name_wins_over_a_sibling() -> None:
    spec = ServiceSpec(image="tutela/web:latest", sequential_deployment=True, env=(("A", "1"),))
    world = World(a_service(spec=spec, target=2))
    world.operate(Verb.START)
    world.run()
    world.linked = (linked("web", sources=(Source(index=1, env=(("A", "2"),), endpoints=()),)),)
    assert dict(made(world.view(), 2).link_env)["WEB_1_ENV_A"] == "2"


def test_plans_as_text() -> None:
    taken = TakeVolumes(slot=3, node_id=NODE, cause="nothing will use them")
    assert render(Plan(steps=(taken,), waits_for="x")) == "take volumes of slot 3: nothing will use them\nwait: x"
    assert render(Plan()) == "at rest"


def test_who_is_waited_for_in_few_words() -> None:
    world = World(a_service(target=6))
    world.operate(Verb.START)
    world.run()
    rows = world.open_rows()
    assert waiting(rows[:1], "to stop") == "web-1 has to stop"
    assert waiting(rows[:2], "to stop") == "web-1, web-2 have to stop"
    assert waiting(rows[:5], "to stop") == "web-1, web-2, web-3, web-4, web-5 have to stop"
    assert waiting(rows, "to stop") == "web-1, web-2, web-3, web-4, web-5 and more have to stop"


def test_with_which_slots_clients_are_to_know_more_names() -> None:
    assert [slot for slot in range(1, 70) if first_of_more_names(slot)] == [5, 9, 17, 33, 65]
