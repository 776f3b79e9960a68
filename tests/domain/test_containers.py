"""A container's environment, its state on the wire, and when it has an address."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest

from domain.container import (
    BoundPort,
    Container,
    ContainerSpec,
    ContainerState,
    Mount,
    Observed,
    Seen,
    Want,
    container_state,
    environment,
    news,
    own_volumes,
    spec_digest,
)
from domain.links import contributes, source_of
from domain.networks import Fleet, is_overlay_name, network_name
from domain.service import Verb
from domain.spec import Binding, CrashPolicy, Link, PortSpec, ServiceSpec, Transport, digest
from tests.planning.model import NODE, START, World, a_service, number

S, W, C = Seen, Want, ContainerState
SPEC = ContainerSpec(image="i", image_id="x", image_digest=None, hostname="web-1")


def test_of_the_environments_the_users_wins_then_what_it_is_told_of_itself() -> None:
    spec = replace(
        SPEC,
        image_env=(("A", "image"), ("I", "image")),
        link_env=(("A", "link"), ("B", "link"), ("L", "link")),
        self_env=(("A", "self"), ("B", "self"), ("S", "self")),
        user_env=(("A", "user"), ("U", "user")),
    )
    assert environment(spec) == {"A": "user", "B": "self", "L": "link", "S": "self", "U": "user"}


def test_a_slots_own_volumes_are_not_those_of_others() -> None:
    own, other = Mount(source="v1", target="/a", volume=True, own=True), Mount(source="v2", target="/b", volume=True)
    assert own_volumes(replace(SPEC, mounts=(other, own))) == ("v1",)


def test_every_change_of_a_definition_changes_its_digest() -> None:
    assert spec_digest(SPEC) == spec_digest(replace(SPEC))
    others = [replace(SPEC, hostname="web-2"), replace(SPEC, user_env=(("A", "b"),)), replace(SPEC, single_writer=True)]
    assert len({spec_digest(each) for each in (SPEC, *others)}) == 4


def test_digests_stay_what_they_are() -> None:
    """They are on the engines' labels and in the record: a release that writes others makes every container anew."""
    asked = ServiceSpec(
        image="acme/web:1",
        env=(("A", "ü"), ("B", "")),
        ports=(PortSpec(protocol=Transport.TCP, inner_port=80, published=True, outer_port=8080),),
        bindings=(Binding(host_path="/srv", container_path="/data"), Binding(volumes_from=UUID(int=7))),
        links=(Link(to_service=UUID(int=5), name="db"),),
        tags=("a",),
        memory=64,
        autorestart=CrashPolicy.ALWAYS,
        single_writer=True,
    )
    assert (digest(asked), digest(ServiceSpec(image="busybox"))) == ("266f38930f18cabe", "86f4436baf5570f6")
    made = ContainerSpec(
        image="acme/web:1",
        image_id="sha256:1",
        image_digest="sha256:2",
        hostname="web-1",
        user_env=(("A", "ü"),),
        mounts=(Mount(source="v", target="/data", volume=True, own=True),),
        ports=(BoundPort(protocol=Transport.UDP, inner_port=53, outer_port=49153),),
    )
    assert spec_digest(made) == "7089fc44a44ebe2c"


def a_row(**changes: object) -> Container:
    world = World(a_service(target=1))
    world.operate(Verb.START)
    world.run()
    return replace(world.open_rows()[0], **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("want", "seen", "obeyed", "state"),
    [
        (W.RUN, None, False, C.STARTING),
        (W.RUN, S.PENDING, True, C.STARTING),
        (W.RUN, S.RUNNING, True, C.RUNNING),
        (W.RUN, S.RUNNING, False, C.STARTING),
        (W.RUN, S.RESTARTING, True, C.STARTING),
        (W.RUN, S.EXITED, True, C.STOPPED),
        (W.RUN, S.FAILED, True, C.STOPPED),
        (W.RUN, S.EXITED, False, C.STARTING),
        (W.STOP, None, False, C.INIT),
        (W.STOP, S.CREATED, True, C.INIT),
        (W.STOP, S.RUNNING, True, C.STOPPING),
        (W.STOP, S.RESTARTING, True, C.STOPPING),
        (W.STOP, S.EXITED, True, C.STOPPED),
        (W.STOP, S.FAILED, True, C.STOPPED),
        (W.GONE, S.RUNNING, True, C.TERMINATING),
        (W.GONE, S.GONE, True, C.TERMINATING),
    ],
)
def test_the_state_on_the_wire(want: Want, seen: Seen | None, obeyed: bool, state: ContainerState) -> None:
    row = a_row(want=want)
    row = replace(row, seen=Observed(state=seen, start_gen=row.start_gen - (not obeyed)) if seen else None)
    assert container_state(row) is state
    assert container_state(replace(row, leaving=True)) is C.TERMINATING
    assert container_state(replace(row, terminated_at=START)) is C.TERMINATED
    alive = seen in {S.RUNNING, S.RESTARTING}
    assert contributes(row) is (alive and (obeyed or want is not W.RUN))
    assert not contributes(replace(row, terminated_at=START))


def test_what_is_told_of_a_removal_takes_nothing_from_what_is_known_of_the_run() -> None:
    ran = Observed(
        state=S.EXITED, start_gen=1, engine_id="e", exit_code=3, started_at=START, message="it was not found"
    )
    why = "it is gone, and its volumes are not: v is in use (try 2, again soon)"
    told = news(ran, Observed(state=S.EXITED, start_gen=1, message=why))
    assert told == replace(ran, message=why, engine_id=None)
    gone = news(told, Observed(state=S.GONE, start_gen=1))
    assert (gone.exit_code, gone.started_at, gone.message) == (3, START, None)
    never = Observed(state=S.FAILED, start_gen=1, message="its port is taken")
    assert news(never, Observed(state=S.GONE, start_gen=1)).message == "its port is taken"
    removed = news(ran, Observed(state=S.EXITED, start_gen=1, exit_code=0, message="it ended, and was removed"))
    assert (removed.exit_code, removed.message) == (0, "it ended, and was removed")
    up = replace(ran, state=S.RUNNING, settling=True)
    assert not news(up, Observed(state=S.EXITED, start_gen=1)).settling


def test_news_of_what_is_gone_keeps_how_it_ended_only_where_that_was_known() -> None:
    gone = Observed(state=S.GONE, start_gen=2)
    assert news(None, gone) is gone
    ran = Observed(state=S.EXITED, start_gen=1, exit_code=3, will_restart=True, ip="10.0.0.9")
    assert news(ran, gone) == replace(ran, state=S.GONE, start_gen=2, ip=None, will_restart=False)
    running = Observed(state=S.RUNNING, start_gen=2)
    assert news(ran, running) is running


def test_what_a_source_tells_of_ports() -> None:
    ports = (
        BoundPort(protocol=Transport.TCP, inner_port=80, outer_port=8080),
        BoundPort(protocol=Transport.UDP, inner_port=53),
    )
    row = a_row(spec=replace(SPEC, ports=ports, image_env=(("A", "1"), ("B", "1")), user_env=(("B", "2"),)))
    alone = source_of(row)
    assert [(end.inner_port, end.address, end.port) for end in alone.endpoints] == [
        (80, "web-1", 80),
        (53, "web-1", 53),
    ]
    assert (alone.published, alone.node, alone.env) == ((), NODE, (("A", "1"), ("B", "2")))
    (outside,) = source_of(row, Fleet(reach={NODE: "192.0.2.7"})).published
    assert (outside.address, outside.port, outside.inner_port) == ("192.0.2.7", 8080, 80)
    assert source_of(row, Fleet()).published == (), "nobody knows where its host is reached"


def test_a_services_networks_by_name() -> None:
    bridge, overlay = network_name(number(1)), network_name(number(1), overlay=True)
    assert (is_overlay_name(bridge), is_overlay_name(overlay)) == (False, True)
    assert not is_overlay_name("someone-overlay")
    assert bridge == f"tutela-{number(1)}"
