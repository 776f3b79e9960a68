"""A service on the wire: the seed's example, the spec's golden sample, and what a body may hold."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.wire.service_input import WIRE_FIELDS, read_create, read_patch
from app.wire.service_output import ServiceDetails, service_out
from domain.errors import Invalid
from domain.image import ResolvedImage
from domain.service import Operation, ServiceWant, Verb
from domain.spec import CrashPolicy, PortSpec, ServiceSpec, Strategy, Transport
from orchestrator.planning.render import container_spec
from tests.planning.model import NODE, START, World, a_service, number

SEED: dict[str, Any] = json.loads((Path(__file__).parent / "seed_service.json").read_text(encoding="utf-8"))
FORBIDDEN = {
    *("logs", "start", "stop", "redeploy", "scale", "save", "delete", "refresh", "create", "list", "fetch", "export"),
    *("cancel", "retry", "build", "execute", "deploy", "upgrade_docker", "health_check", "add", "remove", "endpoint"),
    *("pk", "is_dirty", "get_all_attributes", "tutum_action_uri"),
}
"""Keys that hide a method of the published clients (spec 1.12)."""


def create(**body: Any) -> Any:
    return read_create({"image": "tutum/hello-world", **body}, most_containers=1000)


def errors_of(call: Any) -> dict[str, str]:
    with pytest.raises(Invalid) as caught:
        call()
    return caught.value.fields


def shown(**changes: Any) -> dict[str, Any]:
    details = ServiceDetails(service=a_service(**changes), containers=(), actions=(number(5),), linked_from=())
    return service_out(details, api_url="https://paas.example", public_domain="paas.example")


def test_every_attribute_of_the_seeds_example_is_there_with_its_type() -> None:
    out = shown(spec=ServiceSpec(image="a:b", memory=2048, cpu_shares=100, entrypoint="x", run_command="y"))
    for key, value in SEED.items():
        assert key in out, key
        if value is not None and out[key] is not None:
            assert type(out[key]) is type(value), key


def test_no_key_hides_a_method_of_the_clients() -> None:
    assert not FORBIDDEN & set(shown())


def test_the_golden_sample_of_the_spec() -> None:
    asked = create(name="my-new-app", target_num_containers=2)
    service = a_service(
        id=UUID("7eaf7fff-882c-4f3d-9a8f-a22317ac00ce"),
        name="my-new-app",
        unique_name="my-new-app",
        spec=asked.spec,
        target=asked.target,
    )
    details = ServiceDetails(
        service=service,
        containers=(),
        actions=(UUID("ee921c03-0f52-438f-8b7d-7331df2a9c18"),),
        linked_from=(),
    )
    golden = json.loads((Path(__file__).parent / "golden_service.json").read_text(encoding="utf-8"))
    assert service_out(details, api_url="https://paas.example", public_domain="paas.example") == golden


@pytest.mark.parametrize(
    ("inner", "scheme", "name"), [(80, "http", "http"), (443, "https", "https"), (3306, "tcp", "mysql")]
)
def test_a_published_port_says_where_it_is_as_a_containers_does(inner: int, scheme: str, name: str) -> None:
    ports = (
        PortSpec(protocol=Transport.TCP, inner_port=inner, outer_port=8000, published=True),
        PortSpec(protocol=Transport.UDP, inner_port=5000, published=True),
        PortSpec(protocol=Transport.TCP, inner_port=5001),
    )
    fixed, dynamic, exposed = shown(spec=ServiceSpec(image="a:b", ports=ports))["container_ports"]
    host = "web.admin.svc.paas.example"
    assert (fixed["endpoint_uri"], fixed["uri_protocol"]) == (f"{scheme}://{host}:8000/", scheme)
    assert fixed["port_name"] == name
    # Its number is each container's own.
    assert (dynamic["endpoint_uri"], dynamic["uri_protocol"]) == (None, "udp")
    assert (exposed["endpoint_uri"], exposed["uri_protocol"]) == (None, None)


def own_variables(world: World, *, domain: str = "") -> dict[str, str]:
    """Those of the service's calculated variables that the platform gives."""
    details = ServiceDetails(service=world.service, containers=world.open_rows(), actions=(), linked_from=())
    out = service_out(details, api_url="http://api.test", public_domain=domain)
    return {each["key"]: each["value"] for each in out["calculated_envvars"] if each["origin"] == "tutum"}


@pytest.mark.parametrize(
    ("stack", "domain"), [(None, ""), ("shop", ""), (None, "example.test"), ("shop", "example.test")]
)
@pytest.mark.parametrize("body", [None, "", "hello"])
def test_every_variable_that_a_container_has_of_the_platform_is_calculated(
    stack: str | None, domain: str, body: str | None
) -> None:
    under_way = Operation(verb=Verb.START, actions=(number(9),), since=START, trigger_body=body)
    world = World(a_service(stack=stack, want=ServiceWant.RUNNING, operation=under_way))
    view = world.view()
    view = replace(view, installation=replace(view.installation, public_domain=domain))
    image = ResolvedImage(reference="i", image_id="sha256:1")
    made = [container_spec(view, slot=n, container_id=number(70 + n), node=NODE, image=image, ports=()) for n in (1, 2)]
    told = own_variables(world, domain=domain)
    assert told.keys() == dict(made[0].self_env).keys()
    for key, value in told.items():
        given = {dict(each.self_env)[key] for each in made}
        # Those that were made by another call have another body, or none.
        assert value == "To be calculated" if len(given) > 1 or key in VARYING else {value} == given, key


VARYING = {
    *("TUTUM_NODE_API_URI", "TUTUM_NODE_API_URL", "TUTUM_NODE_HOSTNAME", "TUTUM_NODE_FQDN"),
    "TUTUM_TRIGGER_BODY",
}
"""What containers may differ in that are of one operation, on one node."""


def test_the_body_of_a_triggers_call_is_calculated_as_long_as_a_container_has_it() -> None:
    world = World(a_service())
    world.operate(Verb.START)
    assert world.service.operation is not None
    world.service = replace(world.service, operation=replace(world.service.operation, trigger_body="hello"))
    world.run()
    assert world.service.operation is None
    assert own_variables(world)["TUTUM_TRIGGER_BODY"] == "To be calculated"
    world.operate(Verb.REDEPLOY)
    world.run()
    assert "TUTUM_TRIGGER_BODY" not in own_variables(world)


def test_a_field_of_the_definition_is_on_the_wire_too() -> None:
    assert {field.name for field in fields(ServiceSpec)} == WIRE_FIELDS


def test_the_seeds_create_example() -> None:
    asked = create(name="my-new-app", target_num_containers=2)
    assert (asked.name, asked.target, asked.spec) == (
        "my-new-app",
        2,
        ServiceSpec(image="tutum/hello-world:latest"),
    )


def test_the_name_defaults_to_the_image_without_namespace() -> None:
    assert create().name == "hello-world"
    assert read_create({"image": "r.io:5000/x/my_app:v1"}, most_containers=9).name == "my-app"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"image": ""}, "image"),
        ({"image": 7}, "image"),
        ({"image": "A B"}, "image"),
        ({"image": "a\n"}, "image"),
        ({"name": "web\n"}, "name"),
        ({"container_ports": [{"inner_port": 80}]}, "container_ports[0].protocol"),
        ({"container_ports": [{"protocol": "tcp"}]}, "container_ports[0].inner_port"),
        ({"container_ports": [{"protocol": "sctp", "inner_port": 80}]}, "container_ports[0].protocol"),
        ({"container_ports": [{"protocol": "tcp", "inner_port": 0}]}, "container_ports[0].inner_port"),
        ({"container_ports": [{"protocol": "tcp", "inner_port": 65536}]}, "container_ports[0].inner_port"),
        ({"container_ports": [{"protocol": "tcp", "inner_port": "x"}]}, "container_ports[0].inner_port"),
        (
            {"container_ports": [{"protocol": "tcp", "inner_port": 80, "outer_port": 80, "published": False}]},
            "container_ports[0].published",
        ),
        (
            {"container_ports": [{"protocol": "tcp", "inner_port": n, "outer_port": 80} for n in (80, 81)]},
            "container_ports[0].outer_port",
        ),
        ({"container_ports": {}}, "container_ports"),
        ({"container_envvars": [{"value": "x"}]}, "container_envvars[0].key"),
        ({"container_envvars": [{"key": "A"}]}, "container_envvars[0].value"),
        ({"container_envvars": [{"key": "A=B", "value": ""}]}, "container_envvars[0].key"),
        ({"container_envvars": [{"key": "A", "value": "\x00"}]}, "container_envvars[0].value"),
        ({"container_envvars": [{"key": "A", "value": "x" * 1_000_000}]}, "container_envvars[0].value"),
        ({"container_envvars": "A=1"}, "container_envvars"),
        ({"linked_to_service": [{"name": "db"}]}, "linked_to_service[0].to_service"),
        ({"linked_to_service": [{"to_service": "x", "name": "a b"}]}, "linked_to_service[0].name"),
        ({"autorestart": "SOMETIMES"}, "autorestart"),
        ({"autorestart": "ON_SUCCESS"}, "autorestart"),
        ({"autoreplace": 1}, "autoreplace"),
        ({"autodestroy": "x"}, "autodestroy"),
        ({"autorestart": "ALWAYS", "autodestroy": "ALWAYS"}, "autodestroy"),
        ({"roles": ["root"]}, "roles"),
        ({"sequential_deployment": "maybe"}, "sequential_deployment"),
        ({"privileged": 3}, "privileged"),
        ({"name": "-a"}, "name"),
        ({"name": "a_b"}, "name"),
        ({"name": "n" * 300}, "name"),
        ({"name": "n\u00e4me"}, "name"),
        ({"target_num_containers": -1}, "target_num_containers"),
        ({"target_num_containers": 10**9}, "target_num_containers"),
        ({"target_num_containers": True}, "target_num_containers"),
        ({"target_num_containers": "two"}, "target_num_containers"),
        ({"target_num_containers": 1.5}, "target_num_containers"),
        ({"run_command": "sh -c 'x"}, "run_command"),
        ({"entrypoint": {"a": 1}}, "entrypoint"),
        ({"tags": ["a b"]}, "tags[0]"),
        ({"tags": "x"}, "tags"),
        ({"memory": 5}, "memory"),
        ({"cpu_shares": 1}, "cpu_shares"),
        ({"memory_swap": 100}, "memory_swap"),
    ],
)
def test_bad_input_names_its_field(body: dict[str, Any], field: str) -> None:
    assert field in errors_of(lambda: create(**body))


def test_all_complaints_come_at_once() -> None:
    assert set(errors_of(lambda: create(name="-", target_num_containers=-1, autorestart="x"))) == {
        "name",
        "target_num_containers",
        "autorestart",
    }


@pytest.mark.parametrize("body", [[], "text", 5])
def test_a_body_that_is_no_object(body: Any) -> None:
    assert set(errors_of(lambda: read_create(body, most_containers=9))) == {"body"}
    assert set(errors_of(lambda: read_create(None, most_containers=9))) == {"image"}


def test_what_clients_send_is_taken() -> None:
    asked = create(
        container_ports=[
            {"protocol": "TCP", "inner_port": "80", "outer_port": 0, "published": "true", "port_name": "http"},
            {"protocol": "", "inner_port": 22, "outer_port": "2222"},
        ],
        container_envvars=[{"key": "A", "value": 5}, {"key": "B", "value": True}, {"key": "A", "value": "last"}],
        autorestart="on-failure",
        tags=["a", {"name": "b", "origin": "user"}, "a"],
        run_command=["sh", "-c", "a b"],
        deployment_strategy="BALANCE",
        memory="512",
        cpu_shares=0,
        uuid="ignored",
        state="Running",
        unknown={"x": 1},
        entrypoint=None,
        stack="",
    )
    spec = asked.spec
    assert spec.ports == (
        PortSpec(protocol=Transport.TCP, inner_port=80, published=True),
        PortSpec(protocol=Transport.TCP, inner_port=22, outer_port=2222, published=True),
    )
    assert spec.env == (("B", "true"), ("A", "last"))
    assert spec.autorestart is CrashPolicy.ON_FAILURE
    assert spec.tags == ("a", "b")
    assert spec.run_command == "sh -c 'a b'"
    assert spec.deployment_strategy is Strategy.EMPTIEST_NODE
    assert (spec.memory, spec.cpu_shares) == (512, None)


def test_a_patch_keeps_what_it_does_not_name_and_null_gives_the_default() -> None:
    present = ServiceSpec(image="a:b", env=(("A", "1"),), memory=100, tags=("x",))
    assert read_patch({}, present, "web", most_containers=9).spec == present
    changed = read_patch({"memory": None, "tags": [{"name": "y"}]}, present, "web", most_containers=9)
    assert changed.spec == replace(present, memory=None, tags=("y",))
    assert changed.links is None
    assert "name" in errors_of(lambda: read_patch({"name": "other"}, present, "web", most_containers=9))
    assert read_patch({"name": "web"}, present, "web", most_containers=9).spec == present


def test_a_target_of_null_is_the_default_save_where_it_follows_the_nodes() -> None:
    spec = ServiceSpec(image="a:b")
    assert read_patch({}, spec, "web", most_containers=9).target is None
    assert read_patch({"target_num_containers": None}, spec, "web", most_containers=9).target == 1
    every = replace(spec, deployment_strategy=Strategy.EVERY_NODE)
    assert read_patch({"target_num_containers": None}, every, "web", most_containers=9).target is None
    assert create(target_num_containers=None).target == 1


def test_get_change_patch_round_trips() -> None:
    out = shown()
    again = read_patch(out, ServiceSpec(image="tutela/web:latest"), "web", most_containers=9)
    assert again.target == 2
    assert replace(again.spec, nickname=None) == ServiceSpec(image="tutela/web:latest")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=10), children, max_size=4),
    max_leaves=12,
)
KEYS = [*sorted(SEED), "image", "memory_swap", "deployment_strategy", "nickname", "tty"]


@given(st.dictionaries(st.sampled_from(KEYS), json_values, max_size=8))
def test_no_body_does_anything_but_parse_or_complain(body: dict[str, Any]) -> None:
    for read in (
        lambda: read_create(body, most_containers=1000),
        lambda: read_patch(body, ServiceSpec(image="a:b"), "web", most_containers=1000),
    ):
        try:
            read()
        except Invalid:
            continue
