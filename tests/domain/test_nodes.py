"""Hosts as the record knows them: where they are reached, whose starts are not trusted, what a report tells."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from domain.assignment import Position
from domain.container import Container, Observed, Seen
from domain.node import FAILURE_WINDOW, FAILURES, Candidate, Node, NodeState, StartFailure, failing, starts
from domain.pause import Pause
from domain.quarantine import Cause
from domain.service import Verb
from tests.planning.model import NODE, START, World, a_service, number


def test_what_operators_say_of_the_address_comes_first() -> None:
    base = Node(id=NODE, name="n", state=NodeState.DEPLOYED, tags=(), engine=None, last_seen=None, created_at=START)
    assert base.reach == ""
    assert replace(base, address="10.0.0.1").reach == "10.0.0.1"
    assert replace(base, address="10.0.0.1", public_ip="192.0.2.1").reach == "192.0.2.1"


def test_a_node_is_open_while_it_is_up_and_not_paused() -> None:
    node = Candidate(node_id=NODE, name="n", state=NodeState.DEPLOYED)
    assert node.open
    assert not replace(node, state=NodeState.UNREACHABLE).open
    assert not replace(node, paused=Pause(by="admin", since=START)).open


def failures(count: int, age: timedelta, services: int = 2) -> list[StartFailure]:
    return [StartFailure(service_id=number(n % services), at=START - age, message=f"no. {n}") for n in range(count)]


def test_how_many_failed_starts_are_too_many() -> None:
    young = FAILURE_WINDOW - timedelta(seconds=1)
    assert failing(failures(FAILURES, young), START).endswith("last no. 4")
    assert failing(failures(FAILURES - 1, young), START) == ""
    assert failing(failures(FAILURES, FAILURE_WINDOW), START) == ""
    assert failing(failures(FAILURES, young, services=1), START) == ""


def a_row() -> Container:
    world = World(a_service(target=1))
    world.operate(Verb.START)
    world.run()
    return world.open_rows()[0]


def test_a_report_tells_of_starts_that_failed_and_of_one_that_went_well() -> None:
    row = a_row()
    fresh, running, failed = (
        replace(row, seen=None),
        replace(row, seen=Observed(state=Seen.RUNNING)),
        replace(row, seen=Observed(state=Seen.FAILED)),
    )
    no_port = Observed(state=Seen.FAILED, message="p" * 300)
    silent, up = Observed(state=Seen.FAILED), Observed(state=Seen.RUNNING)
    told, started = starts([(fresh, no_port), (running, silent)], START)
    assert told == (
        StartFailure(service_id=row.service_id, at=START, message="p" * 200),
        StartFailure(service_id=row.service_id, at=START, message=""),
    )
    assert not started
    assert starts([(failed, no_port)], START) == ((), False), "it is known already"
    assert starts([(running, up)], START) == ((), False), "it ran before"
    assert starts([(fresh, up), (fresh, silent)], START)[1]
    assert starts([(failed, up), (running, up)], START) == ((), True)


def test_a_node_that_was_told_more_than_the_record_knows_is_left_alone() -> None:
    base = Node(id=NODE, name="n", state=NodeState.DEPLOYED, tags=(), engine=None, last_seen=None, created_at=START)
    assert base.quarantine is None
    ahead = Position(node_id=NODE, lineage=number(9), revision=7)
    found = replace(base, ahead=ahead).quarantine
    assert found is not None
    assert (found.cause, found.closed) == (Cause.RECORD, True)
    candidate = Candidate(node_id=NODE, name="n", state=NodeState.DEPLOYED, quarantine=found)
    assert candidate.closed is found
    assert not candidate.open
