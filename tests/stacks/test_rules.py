"""Stacks without I/O: states, what is allowed, the order of services, and every row of the stack-file keys (4.9)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.wire.reading import Reading
from app.wire.service_input import read_create
from app.wire.stack_file import to_api, to_file
from app.wire.stack_input import read_stack
from domain.errors import Invalid, NotAllowed
from domain.service import Service, ServiceState, Verb
from domain.spec import Binding, CrashPolicy, Link, PortSpec, ServiceSpec, Strategy, Transport
from domain.stack import ALLOWED, VERBS, Stack, StackState, check, order, stack_state
from tests.planning.model import START, a_service, number

S, K = ServiceState, StackState


def a_stack(**changes: Any) -> Stack:
    base = Stack(id=number(70), account_id=number(2), name="shop", nickname=None, created_at=START)
    return replace(base, **changes)


@pytest.mark.parametrize(
    ("services", "state"),
    [
        ([], K.NOT_RUNNING),
        ([S.INIT, S.INIT], K.NOT_RUNNING),
        ([S.NOT_RUNNING, S.INIT], K.NOT_RUNNING),
        ([S.RUNNING, S.RUNNING], K.RUNNING),
        ([S.RUNNING, S.TERMINATED], K.RUNNING),
        ([S.RUNNING, S.STOPPED], K.PARTLY_RUNNING),
        ([S.PARTLY_RUNNING], K.PARTLY_RUNNING),
        ([S.RUNNING, S.INIT], K.PARTLY_RUNNING),
        ([S.STOPPED, S.STOPPED], K.STOPPED),
        ([S.STOPPED, S.INIT], K.STOPPED),
        ([S.STARTING, S.STOPPED], K.PARTLY_RUNNING),
    ],
)
def test_the_state_follows_those_of_the_services(services: list[ServiceState], state: StackState) -> None:
    assert stack_state(a_stack(), services, under_way=False) is state


@pytest.mark.parametrize(
    ("verb", "state"),
    [
        (Verb.START, K.STARTING),
        (Verb.STOP, K.STOPPING),
        (Verb.REDEPLOY, K.REDEPLOYING),
    ],
)
def test_its_own_operation_shows_while_it_is_under_way(verb: Verb, state: StackState) -> None:
    stack = a_stack(verb=verb, action=number(9))
    assert stack_state(stack, [S.RUNNING], under_way=True) is state
    assert stack_state(stack, [S.RUNNING], under_way=False) is K.RUNNING


def test_terminating_until_the_last_service_is_gone() -> None:
    stack = a_stack(terminated_at=START, verb=Verb.TERMINATE, action=number(9))
    assert stack_state(stack, [S.TERMINATED, S.TERMINATING], under_way=True) is K.TERMINATING
    assert stack_state(stack, [S.TERMINATED], under_way=False) is K.TERMINATED
    assert stack_state(stack, [], under_way=False) is K.TERMINATED


@pytest.mark.parametrize("state", list(StackState))
@pytest.mark.parametrize("verb", VERBS)
def test_every_cell_of_the_table(state: StackState, verb: Verb) -> None:
    if verb in ALLOWED.get(state, ()):
        check(state, verb.value)
        return
    with pytest.raises(NotAllowed, match=f"Stack is in state {state.value}: {verb.value} is not allowed"):
        check(state, verb.value)


def service(n: int, *targets: int) -> Service:
    links = tuple(Link(name=f"s{target}", to_service=number(target)) for target in targets)
    return a_service(id=number(n), name=f"s{n}", spec=ServiceSpec(image="a:b", links=links))


def test_targets_start_first_and_clients_stop_first() -> None:
    web, api, db = service(1, 2), service(2, 3), service(3)
    starting = order([web, api, db], Verb.START)
    assert starting == {web.id: (api.id,), api.id: (db.id,), db.id: ()}
    assert order([web, api, db], Verb.STOP) == {web.id: (), api.id: (web.id,), db.id: (api.id,)}


def test_who_has_volumes_of_another_comes_after_it_as_who_links_to_it_does() -> None:
    backup, db = service(1), service(2)
    volumes = Binding(volumes_from=db.id)
    backup = replace(backup, spec=replace(backup.spec, bindings=(Binding(container_path="/own"), volumes)))
    assert order([backup, db], Verb.START) == {backup.id: (db.id,), db.id: ()}
    assert order([backup, db], Verb.TERMINATE) == {backup.id: (), db.id: (backup.id,)}


def test_who_is_reached_on_two_ways_is_looked_at_once() -> None:
    four, three, two, one = service(4, 2, 3), service(3, 1), service(2, 1), service(1)
    asked = order([one, two, three, four, service(5, 4)], Verb.REDEPLOY)
    assert asked[four.id] == (two.id, three.id)
    back = order([four, three, two, service(1, 4)], Verb.START)
    assert back[one.id] == (), "it would wait for itself, through either"
    assert order([service(1, 1, 9)], Verb.START) == {one.id: ()}, "itself, and one that does not take part"


def test_what_a_stack_allows_is_told() -> None:
    check(K.RUNNING, "update")
    check(K.STARTING, "update")
    for state in (K.TERMINATING, K.TERMINATED):
        with pytest.raises(NotAllowed, match="update is not allowed"):
            check(state, "update")
    with pytest.raises(NotAllowed) as running:
        check(K.RUNNING, "start")
    assert str(running.value) == (
        "Stack is in state Running: start is not allowed (allowed now: redeploy, stop, terminate)"
    )
    with pytest.raises(NotAllowed) as starting:
        check(K.STARTING, "start")
    assert str(starting.value) == (
        "Stack is in state Starting: start is not allowed (nothing is allowed until that has ended)"
    )


def test_a_circle_is_broken_where_the_file_closes_it() -> None:
    one, two, three = service(1, 2), service(2, 3), service(3, 1)
    assert order([one, two, three], Verb.START) == {one.id: (two.id,), two.id: (three.id,), three.id: ()}


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), max_size=20), st.sampled_from(VERBS))
def test_no_order_ever_waits_for_itself(edges: list[tuple[int, int]], verb: Verb) -> None:
    services = [service(n, *(target for origin, target in edges if origin == n)) for n in range(1, 7)]
    waits = order(services, verb)
    done: set[Any] = set()
    while len(done) < len(services):
        ready = {each for each, before in waits.items() if each not in done and done.issuperset(before)}
        assert ready, "nothing can go on"
        done |= ready


def converted(**entry: Any) -> dict[str, Any]:
    reading = Reading()
    out = to_api(reading, {"name": "s", "image": "a", **entry}, "services[0]")
    assert not reading.errors, reading.errors
    return {key: value for key, value in out.items() if key not in {"name", "image"}}


@pytest.mark.parametrize(
    ("entry", "api"),
    [
        ({"command": "echo 'a b'"}, {"run_command": "echo 'a b'"}),
        ({"command": ["echo", "a b"]}, {"run_command": ["echo", "a b"]}),
        ({"entrypoint": "/x"}, {"entrypoint": "/x"}),
        (
            {"environment": {"A": 1, "B": None}},
            {"container_envvars": [{"key": "A", "value": 1}, {"key": "B", "value": ""}]},
        ),
        (
            {"environment": ["A=b=c", "D"]},
            {"container_envvars": [{"key": "A", "value": "b=c"}, {"key": "D", "value": ""}]},
        ),
        ({"links": ["db"]}, {"linked_to_service": [{"to_service": "db", "name": "db"}]}),
        ({"links": ["db:mysql"]}, {"linked_to_service": [{"to_service": "db", "name": "mysql"}]}),
        ({"links": ["db.other:x"]}, {"linked_to_service": [{"to_service": "db.other", "name": "x"}]}),
        ({"links": ["db.other"]}, {"linked_to_service": [{"to_service": "db.other", "name": "db"}]}),
        ({"ports": ["80"]}, {"container_ports": [{"protocol": "tcp", "inner_port": 80, "published": True}]}),
        ({"ports": [80]}, {"container_ports": [{"protocol": "tcp", "inner_port": 80, "published": True}]}),
        (
            {"ports": ["443:8443"]},
            {"container_ports": [{"protocol": "tcp", "inner_port": 8443, "outer_port": 443, "published": True}]},
        ),
        ({"ports": ["500/udp"]}, {"container_ports": [{"protocol": "udp", "inner_port": 500, "published": True}]}),
        (
            {"ports": ["53:53/udp"]},
            {"container_ports": [{"protocol": "udp", "inner_port": 53, "outer_port": 53, "published": True}]},
        ),
        ({"expose": ["80", "90/udp"]}, {
            "container_ports": [
                {"protocol": "tcp", "inner_port": 80, "published": False},
                {"protocol": "udp", "inner_port": 90, "published": False},
            ]
        }),
        ({"volumes": ["/data"]}, {"bindings": [{"host_path": None, "container_path": "/data", "rewritable": True}]}),
        ({"volumes": ["/h:/d:ro"]}, {"bindings": [{"host_path": "/h", "container_path": "/d", "rewritable": False}]}),
        ({"volumes_from": ["db"]}, {"bindings": [{"volumes_from": "db", "rewritable": True}]}),
        ({"tags": "one"}, {"tags": ["one"]}),
        ({"tags": ["one", "two"]}, {"tags": ["one", "two"]}),
        ({"target_num_containers": 3}, {"target_num_containers": 3}),
        ({"sequential_deployment": True}, {"sequential_deployment": True}),
        ({"roles": ["global"]}, {"roles": ["global"]}),
        ({"autoredeploy": True}, {"autoredeploy": True}),
        ({"privileged": True}, {"privileged": True}),
        ({"restart": "always"}, {"autorestart": "ALWAYS"}),
        ({"restart": "on-failure"}, {"autorestart": "on-failure"}),
        ({"restart": "no"}, {"autorestart": "OFF"}),
        ({"restart": False}, {"autorestart": "OFF"}),
        ({"autorestart": "always"}, {"autorestart": "ALWAYS"}),
        ({"autodestroy": "on-success"}, {"autodestroy": "on-success"}),
        ({"autoreplace": "always"}, {"autoreplace": "ALWAYS"}),
        ({"deployment_strategy": "high_availability"}, {"deployment_strategy": "high_availability"}),
        ({"labels": ["a=b"]}, {"labels": {"a": "b"}}),
        ({"labels": {"a": "b"}}, {"labels": {"a": "b"}}),
        ({"mem_limit": "512m"}, {"memory": 512}),
        ({"mem_limit": "1g"}, {"memory": 1024}),
        ({"mem_limit": "100000k"}, {"memory": 98}),
        ({"mem_limit": 10485760}, {"memory": 10}),
        ({"mem_limit": "9m", "memswap_limit": "1g"}, {"memory": 9, "memory_swap": 1024}),
        ({"dns": "8.8.8.8"}, {"dns": "8.8.8.8"}),
        ({"net": "host", "pid": "host"}, {"net": "host", "pid": "host"}),
        ({"container_envvars": [{"key": "B", "value": "2"}]}, {"container_envvars": [{"key": "B", "value": "2"}]}),
    ],
)  # fmt: skip
def test_every_row_of_the_stack_file_keys(entry: dict[str, Any], api: dict[str, Any]) -> None:
    assert converted(**entry) == api
    read_create({"image": "a", **{k: v for k, v in api.items() if k != "bindings"}}, most_containers=9)


BESIDE: list[tuple[str, str, list[str]]] = [
    ("container_ports", "ports", ["80"]),
    ("container_ports", "expose", ["80"]),
    ("linked_to_service", "links", ["db"]),
    ("bindings", "volumes", ["/data"]),
    ("bindings", "volumes_from", ["db"]),
]
"""Attributes of the API that are lists, and the keys of a file that add to them."""


@pytest.mark.parametrize(("attribute", "key", "value"), BESIDE)
def test_a_files_key_adds_to_the_attribute_and_leaves_the_body_as_it_is(
    attribute: str, key: str, value: list[str]
) -> None:
    alone = converted(**{key: value})
    assert converted(**{attribute: None, key: value}) == alone
    given: list[Any] = [{"as": "given"}]
    assert converted(**{attribute: given, key: value}) == {attribute: [{"as": "given"}, *alone[attribute]]}
    assert given == [{"as": "given"}]


@pytest.mark.parametrize(("attribute", "key", "value"), BESIDE)
@pytest.mark.parametrize("wrong", ["80", 0, {"a": 1}, True])
def test_an_attribute_that_is_no_list_is_refused_beside_a_files_key(
    attribute: str, key: str, value: list[str], wrong: Any
) -> None:
    body = {"name": "s", "services": [{"name": "web", "image": "a", attribute: wrong, key: value}]}
    (service,) = read_stack(body, create=True).services
    with pytest.raises(Invalid) as caught:
        service.created(9)
    assert list(caught.value.fields) == [f"services[0].{attribute}"]


@pytest.mark.parametrize(
    ("entry", "field"),
    [
        ({"build": "."}, "build"),
        ({"external_links": ["x"]}, "external_links"),
        ({"env_file": "x"}, "env_file"),
        ({"comand": "x"}, "comand"),
        ({"ports": [1342000]}, "ports[0]"),
        ({"ports": [True]}, "ports[0]"),
        ({"ports": ["1.2.3.4:80:80"]}, "ports[0]"),
        ({"expose": ["80:80"]}, "expose[0]"),
        ({"environment": "A=b"}, "environment"),
        ({"mem_limit": "much"}, "mem_limit"),
        ({"volumes": ["/a:/b:rx"]}, "volumes[0]"),
    ],
)
def test_what_a_stack_file_may_not_say(entry: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as caught:
        read_stack({"name": "s", "services": [{"name": "web", "image": "a", **entry}]}, create=True)
    assert list(caught.value.fields) == [f"services[0].{field}"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "name"),
        ({"name": "a b"}, "name"),
        ({"name": "s", "services": "x"}, "services"),
        ({"name": "s", "services": [{"image": "a"}]}, "services[0].name"),
        ({"name": "s", "services": [{"name": "a", "image": "a"}, {"name": "a", "image": "a"}]}, "services[0].name"),
    ],
)
def test_what_a_stack_may_not_be(body: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as caught:
        read_stack(body, create=True)
    assert next(iter(caught.value.fields)) == field


words = st.text(
    st.characters(min_codepoint=48, max_codepoint=122, categories=("Lu", "Ll", "Nd")), min_size=1, max_size=8
)
ports = st.builds(
    PortSpec,
    protocol=st.sampled_from(list(Transport)),
    inner_port=st.integers(1, 65535),
    published=st.booleans(),
)
specs = st.builds(
    ServiceSpec,
    image=st.just("a:b"),
    run_command=st.one_of(st.none(), words),
    env=st.lists(st.tuples(words, words), max_size=3, unique_by=lambda pair: pair[0]).map(tuple),
    ports=st.lists(ports, max_size=3, unique_by=lambda port: (port.protocol, port.inner_port)).map(tuple),
    autorestart=st.sampled_from([CrashPolicy.OFF, CrashPolicy.ON_FAILURE]),
    autodestroy=st.sampled_from(list(CrashPolicy)),
    tags=st.lists(words, max_size=3, unique=True).map(tuple),
    memory=st.one_of(st.none(), st.integers(6, 9000)),
    deployment_strategy=st.sampled_from([Strategy.EMPTIEST_NODE, Strategy.HIGH_AVAILABILITY]),
    labels=st.lists(st.tuples(words.map("l{}".format), words), max_size=2, unique_by=lambda pair: pair[0]).map(
        lambda pairs: tuple(sorted(pairs))
    ),
    bindings=st.lists(
        st.builds(Binding, container_path=words.map("/{}".format), rewritable=st.booleans()).map(
            lambda binding: binding if binding.rewritable else replace(binding, host_path="/host")
        ),
        max_size=2,
        unique_by=lambda binding: binding.container_path,
    ).map(tuple),
    tty=st.booleans(),
    dns=st.sampled_from([(), ("8.8.8.8",)]),
)


@given(spec=specs, target=st.integers(0, 5))
def test_an_export_read_again_is_the_same_definition(spec: ServiceSpec, target: int) -> None:
    exported = to_file(a_service(name="web", spec=spec, target=target), {})
    (asked,) = read_stack({"name": "s", "services": [{"name": "web", **exported}]}, create=True).services
    read = asked.created(most_containers=100)
    assert (replace(read.spec, ports=tuple(sorted(read.spec.ports, key=str))), read.target) == (
        replace(spec, ports=tuple(sorted(spec.ports, key=str))),
        target,
    )
