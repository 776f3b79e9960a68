"""Hosts as the record knows them: where they are reached, whose starts are not trusted, what a report tells."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

from domain.assignment import Position
from domain.container import Observed, Seen
from domain.node import (
    FAILURE_WINDOW,
    FAILURES,
    Candidate,
    Node,
    NodeState,
    StartFailure,
    failing,
    mass_silence,
    starts,
)
from domain.pause import Pause
from domain.quarantine import Cause
from tests.planning.model import NODE, START, number


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


def test_when_silence_says_more_of_the_way_than_of_the_hosts() -> None:
    mass = {(silent, of) for of in range(8) for silent in range(of + 1) if mass_silence(silent, of)}
    assert mass == {(2, 2), (3, 3), (3, 4), (4, 4), (3, 5), (4, 5), (5, 5)} | {
        (silent, of) for of in (6, 7) for silent in range(4, of + 1)
    }
    assert not mass_silence(4, 6, gone=3), "three died long ago, and now one"
    assert not mass_silence(5, 8, gone=3)
    assert mass_silence(6, 8, gone=3)
    assert mass_silence(3, 3, gone=3), "nobody is heard, for however long"


def test_how_many_failed_starts_are_too_many() -> None:
    young = FAILURE_WINDOW - timedelta(seconds=1)
    assert failing(failures(FAILURES, young), START).endswith("last no. 4")
    assert failing(failures(FAILURES - 1, young), START) == ""
    assert failing(failures(FAILURES, FAILURE_WINDOW), START) == ""
    assert failing(failures(FAILURES, young, services=1), START) == ""


def test_a_report_tells_of_starts_that_failed_and_of_one_that_went_well() -> None:
    of, running, failed = uuid4(), Observed(state=Seen.RUNNING), Observed(state=Seen.FAILED)
    no_port = Observed(state=Seen.FAILED, message="p" * 300)
    silent, up = Observed(state=Seen.FAILED), Observed(state=Seen.RUNNING)
    told, started = starts([(of, None, no_port), (of, running, silent)], START)
    assert told == (
        StartFailure(service_id=of, at=START, message="p" * 200),
        StartFailure(service_id=of, at=START, message=""),
    )
    assert not started
    assert starts([(of, failed, no_port)], START) == ((), False), "it is known already"
    assert starts([(of, running, up)], START) == ((), False), "it ran before"
    assert starts([(of, None, up), (of, None, silent)], START)[1]
    assert starts([(of, failed, up), (of, running, up)], START) == ((), True)


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
