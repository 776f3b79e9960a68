"""Which node gets a container, and why no other (spec 2.21)."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.assignment import EngineInfo
from domain.container import BoundPort
from domain.node import Candidate, NodeState, StartFailure, disk_full, failing
from domain.pause import Pause
from domain.placement import MOST_VERDICTS, Refusal, Room, Verdict, fixed_ports, occupied, place, refusal, vacate
from domain.service import Verb
from domain.spec import PortSpec, ServiceSpec, Strategy, Transport
from tests.planning.model import World, a_service

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PLAIN = ServiceSpec(image="i")
SPREAD = ServiceSpec(image="i", deployment_strategy=Strategy.HIGH_AVAILABILITY)
PORT_80 = PortSpec(protocol=Transport.TCP, inner_port=80, outer_port=80, published=True)


def number(n: int) -> UUID:
    return UUID(f"00000000-0000-4000-8000-{n:012d}")


def node(name: str, n: int, **changes: object) -> Candidate:
    return Candidate(node_id=number(n), name=name, **{"state": NodeState.DEPLOYED, **changes})  # type: ignore[arg-type]


def chosen(spec: ServiceSpec, *nodes: Candidate) -> int | None:
    found = place(spec, nodes).node_id
    return found.int & 0xFFF if found else None


def test_the_emptiest_node_is_taken_and_ties_go_by_name() -> None:
    assert chosen(PLAIN, node("b", 2), node("a", 1)) == 1
    assert chosen(PLAIN, node("b", 2), node("a", 1, load=1)) == 2
    assert chosen(PLAIN, node("b", 2, here=3, load=3), node("a", 1, load=4)) == 2


def test_a_node_whose_starts_fail_comes_last() -> None:
    assert chosen(PLAIN, node("a", 1, failing="5 starts failed"), node("b", 2, load=9)) == 2
    assert chosen(PLAIN, node("a", 1, failing="5 starts failed")) == 1


def test_high_availability_goes_by_the_containers_of_the_service() -> None:
    assert chosen(SPREAD, node("b", 2, here=3, load=3), node("a", 1, load=40)) == 1
    assert chosen(SPREAD, node("b", 2, here=1, load=3), node("a", 1, here=1, load=40)) == 2


@pytest.mark.parametrize(
    ("spec", "changes", "why", "words"),
    [
        (PLAIN, {"state": NodeState.UNREACHABLE}, Refusal.NODE_DOWN, "is Unreachable"),
        (PLAIN, {"paused": Pause(by="ann", since=NOW)}, Refusal.PAUSED, "is paused by ann: it is told nothing new"),
        (PLAIN, {"cordoned": True}, Refusal.CORDONED, "uncordoned"),
        (replace(PLAIN, tags=("ssd", "eu")), {"tags": frozenset({"eu"})}, Refusal.TAGS, "has no tag ssd"),
        (replace(PLAIN, ports=(PORT_80,)), {"taken": frozenset({(Transport.TCP, 80)})}, Refusal.PORT, "port 80/tcp"),
        (replace(PLAIN, memory=600), {"memory": 1000, "reserved_memory": 500}, Refusal.MEMORY, "500 MB"),
        (replace(PLAIN, cpu_shares=1024), {"cpus": 1, "reserved_cpu": 512}, Refusal.CPU, "512 CPU shares"),
        (PLAIN, {"disk_full": True}, Refusal.DISK, "disk"),
    ],
)
def test_what_refuses_a_node(spec: ServiceSpec, changes: dict[str, object], why: Refusal, words: str) -> None:
    found = refusal(spec, node("a", 1, **changes))
    assert found is not None
    assert found[0] is why
    assert words in found[1]
    assert chosen(spec, node("a", 1, **changes)) is None
    assert refusal(replace(spec, memory=None, cpu_shares=None, ports=(), tags=()), node("b", 2)) is None


def test_a_refusal_names_every_node_and_its_reason() -> None:
    spec = replace(PLAIN, tags=("ssd",), ports=(PORT_80,))
    full = node("c", 3, tags=frozenset({"ssd"}), taken=frozenset({(Transport.TCP, 80)}))
    found = place(spec, [node("a", 1, state=NodeState.UNREACHABLE), node("b", 2), full])
    assert found.reason == (
        "no node can take the container: node a is Unreachable; node b has no tag ssd;"
        " node c has port 80/tcp taken by another container"
    )
    assert place(spec, []).reason == "no node has joined yet: start an agent"


def test_volumes_bind_a_slot_to_their_node() -> None:
    found = place(PLAIN, [node("a", 1), node("b", 2, load=9)], only=number(2))
    assert found.node_id == number(2)
    away = place(PLAIN, [node("a", 1), node("b", 2, state=NodeState.UNREACHABLE)], only=number(2))
    assert away.reason == "no node can take the container: node b is Unreachable"


def test_the_verdicts_say_who_was_taken_and_stay_few() -> None:
    found = place(PLAIN, [node(f"n{n:03d}", n, load=n, cordoned=n % 2 == 1) for n in range(100)])
    assert len(found.verdicts) == MOST_VERDICTS
    assert [each.node for each in found.verdicts if each.taken] == ["n000"]
    nobody = place(PLAIN, [node(f"n{n:03d}", n, cordoned=True) for n in range(100)])
    assert "and 80 more" in nobody.reason


nodes = st.lists(
    st.builds(
        Candidate,
        node_id=st.uuids(version=4),
        name=st.text("abc", min_size=1, max_size=3),
        state=st.sampled_from(list(NodeState)),
        tags=st.frozensets(st.sampled_from(["ssd", "eu"])),
        load=st.integers(0, 5),
        here=st.integers(0, 3),
        memory=st.just(1000),
        reserved_memory=st.integers(0, 1200),
        cordoned=st.booleans(),
        taken=st.frozensets(st.just((Transport.TCP, 80))),
    ),
    max_size=6,
    unique_by=lambda each: each.name,
)
specs = st.builds(
    ServiceSpec,
    image=st.just("i"),
    tags=st.sampled_from([(), ("ssd",), ("ssd", "eu")]),
    memory=st.sampled_from([None, 300]),
    ports=st.sampled_from([(), (PORT_80,)]),
    deployment_strategy=st.sampled_from([Strategy.EMPTIEST_NODE, Strategy.HIGH_AVAILABILITY]),
)


@given(spec=specs, candidates=nodes)
def test_a_placement_is_deterministic_allowed_and_told(spec: ServiceSpec, candidates: list[Candidate]) -> None:
    found = place(spec, candidates)
    assert found == place(spec, list(reversed(candidates)))
    able = [each for each in candidates if refusal(spec, each) is None]
    assert (found.node_id is not None) == bool(able)
    assert len(found.verdicts) == len(candidates)
    taken = [each for each in found.verdicts if each.taken]
    if found.node_id is None:
        assert taken == []
        assert found.reason
        return
    best = next(each for each in candidates if each.node_id == found.node_id)
    assert [each.node for each in taken] == [best.name]
    assert best in able
    if spec.deployment_strategy is Strategy.HIGH_AVAILABILITY:
        assert best.here == min(each.here for each in able)
    else:
        assert best.load == min(each.load for each in able)


@given(spec=specs, candidates=nodes, count=st.integers(1, 8))
def test_one_after_the_other_never_overfills_a_node(spec: ServiceSpec, candidates: list[Candidate], count: int) -> None:
    """And each is put where it would be if the nodes were looked at anew."""
    present, room = list(candidates), Room(spec, candidates)
    before = {each.node_id: each for each in candidates}
    for _ in range(count):
        found = room.place()
        assert found == place(spec, present)
        if found.node_id is None:
            break
        room.occupy(found.node_id)
        present = [occupied(spec, each) if each.node_id == found.node_id else each for each in present]
    for after in present:
        added = after.load - before[after.node_id].load
        if spec.memory and added:
            assert after.reserved_memory <= after.memory
        if fixed_ports(spec):
            assert added <= 1


def test_a_node_that_keeps_failing_starts_is_left_alone_for_a_while() -> None:
    def failure(service: int, minutes: float) -> StartFailure:
        return StartFailure(service_id=number(service), at=NOW - timedelta(minutes=minutes), message="no space")

    assert "5 starts failed there within 5 minutes, last no space" in failing(
        [failure(n % 2, n / 10) for n in range(5)], NOW
    )
    assert failing([failure(1, n / 10) for n in range(9)], NOW) == "", "one service that fails is the service's fault"
    assert failing([failure(n % 2, 6) for n in range(9)], NOW) == "", "long ago"


def test_when_a_disk_is_full() -> None:
    def engine(disk: int, free: int) -> EngineInfo:
        return EngineInfo(engine_id="e", version="1", storage_driver="o", cpus=1, memory=1, disk=disk, disk_free=free)

    assert disk_full(engine(100_000, 1_000))
    assert disk_full(engine(1_000, 255))
    assert not disk_full(engine(1_000, 256))
    assert disk_full(engine(100_000, 1_999))
    assert not disk_full(engine(100_000, 2_000))
    assert not disk_full(engine(100_000, 3_000))
    assert not disk_full(engine(0, 0)), "not known"
    assert not disk_full(None)


def test_a_container_that_goes_frees_what_it_had_on_its_node_and_nowhere_else() -> None:
    world = World(a_service(target=1))
    world.operate(Verb.START)
    world.run()
    (row,) = world.open_rows()
    port = BoundPort(protocol=Transport.TCP, inner_port=80, outer_port=80)
    inner = BoundPort(protocol=Transport.UDP, inner_port=53)
    row = replace(row, spec=replace(row.spec, ports=(port, inner), memory=100, cpu_shares=50))
    full = {"here": 2, "load": 5, "reserved_memory": 300, "reserved_cpu": 80}
    held = frozenset({(Transport.TCP, 80), (Transport.TCP, 81)})
    own, other = replace(node("a", 1, **full, taken=held), node_id=row.node_id), node("b", 2, **full, taken=held)
    freed, same = vacate((own, other), row)
    assert same == other
    assert freed == replace(
        own, here=1, load=4, reserved_memory=200, reserved_cpu=30, taken=frozenset({(Transport.TCP, 81)})
    )
    spec = replace(PLAIN, ports=(PORT_80,), memory=100, cpu_shares=50)
    assert occupied(spec, freed) == own
    room = Room(spec, (other,))
    room.vacate(row)
    assert room.place() == place(spec, (other,)), "it was on none of these"
    plain = replace(row, spec=replace(row.spec, ports=(), memory=None, cpu_shares=None))
    assert vacate((own,), plain) == (replace(own, here=1, load=4),)
    assert occupied(PLAIN, own) == replace(own, here=3, load=6)


def test_what_just_fits_is_taken() -> None:
    assert refusal(replace(PLAIN, memory=500), node("a", 1, memory=1000, reserved_memory=500)) is None
    assert refusal(replace(PLAIN, memory=501), node("a", 1, memory=1000, reserved_memory=500)) is not None
    assert refusal(replace(PLAIN, cpu_shares=512), node("a", 1, cpus=1, reserved_cpu=512)) is None
    assert refusal(replace(PLAIN, cpu_shares=513), node("a", 1, cpus=1, reserved_cpu=512)) is not None
    assert refusal(replace(PLAIN, memory=500, cpu_shares=5000), node("a", 1)) is None, "nobody said what it has"
    over = refusal(replace(PLAIN, memory=1), node("a", 1, memory=100, reserved_memory=300))
    assert over == (Refusal.MEMORY, "has 0 MB of memory that nobody reserved, and 1 are asked for")
    cpu = refusal(replace(PLAIN, cpu_shares=1), node("a", 1, cpus=1, reserved_cpu=3000))
    assert cpu == (Refusal.CPU, "has 0 CPU shares that nobody reserved, and 1 are asked for")


def test_what_is_found_of_each_node() -> None:
    found = place(PLAIN, [node("a", 1, failing="x", load=1), node("b", 2, here=1, load=3), node("c", 3, cordoned=True)])
    assert found.verdicts == (
        Verdict(node="b", taken=True, text="runs 3 containers, 1 of this service"),
        Verdict(node="a", text="runs 1 containers, 0 of this service; comes last: x"),
        Verdict(
            node="c",
            refusal=Refusal.CORDONED,
            text="is cordoned: it takes no new containers until it is uncordoned",
        ),
    )
    assert found.reason == ""
    elsewhere = place(PLAIN, [node("a", 1), node("b", 2)], only=number(3))
    assert elsewhere.reason == (
        "no node can take the container: node a does not have the slot's volumes;"
        " node b does not have the slot's volumes"
    )
    assert {each.refusal for each in elsewhere.verdicts} == {Refusal.VOLUMES}


@given(
    flags=st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 2)), min_size=0, max_size=4),
    only=st.none() | st.integers(0, 4),
)
def test_who_takes_after_a_container_is_who_takes_one_when_it_is_gone(
    flags: list[tuple[bool, bool, int]], only: int | None
) -> None:
    world = World(a_service(target=1))
    world.operate(Verb.START)
    world.run()
    (row,) = world.open_rows()
    row = replace(row, node_id=number(0), spec=replace(row.spec, memory=50))
    spec = replace(PLAIN, memory=100)
    nodes = tuple(
        node(f"n{n}", n, cordoned=cordoned, memory=200, reserved_memory=(100, 150, 200)[step], disk_full=full)
        for n, (cordoned, full, step) in enumerate(flags)
    )
    at = None if only is None else number(only)
    found = place(spec, vacate(nodes, row), only=at).node_id is not None
    assert Room(spec, nodes).takes_after(row, only=at) is found


def test_what_several_containers_held_is_freed_together() -> None:
    world = World(a_service(target=2))
    world.operate(Verb.START)
    world.run()
    first, second = world.open_rows()
    own, other = node("a", 1, here=2, load=3), node("b", 2, here=1, load=1)
    rows = (replace(first, node_id=own.node_id), replace(second, node_id=own.node_id))
    assert vacate((own, other), *rows) == (replace(own, here=0, load=1), other)
    assert vacate((own, other)) == (own, other)
