"""Releases next to each other understand each other's frames (I16): what one does not know it ignores, what one does
not say has its default."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from agents import frames
from domain.assignment import (
    Beat,
    ContainerReport,
    Copy,
    EngineInfo,
    Heard,
    ImageRequest,
    ImageResult,
    NodeAssignments,
    NodeHello,
    NodeReport,
    Position,
    Registration,
    Strangers,
)
from domain.assignment import Testimony as Told  # by its own name it would be taken for a test
from domain.container import Observed, Seen
from domain.engine_notes import EngineSetup
from domain.image import Pull, ResolvedImage
from domain.swarm import SwarmOrder, SwarmReport, SwarmSeen
from tests.agents.build import CLUSTER, NODE, NOW, assigned, attachment, number

SAID = Path(__file__).with_name("frames_0_1.json")
"""What release 0.1 says: it is never written anew, so that later ones go on reading it."""

ENGINE = EngineInfo(
    engine_id="AAAA",
    version="20.10.24",
    storage_driver="overlay2",
    cpus=2,
    memory=4096,
    gateway="172.17.0.1",
    disk=1000,
    disk_free=500,
    place="host-1:/var/lib/docker",
    setup=EngineSetup(),
    emptied=1,
)
SEEN = Position(node_id=NODE, lineage=number(7), revision=3)
COPY = Copy(of=number(3), version=2, rows={"services": [{"name": "web", "spec": {"image": "a"}}]})
ASSIGNED = assigned(
    1, networks=(attachment("net-a", "web", "web-1"),), drop_volumes=("v",), secret_env=(("TOKEN", "secret"),)
)
OBSERVED = Observed(state=Seen.EXITED, start_gen=2, engine_id="e", exit_code=1, started_at=NOW, finished_at=NOW)
EXAMPLES: dict[str, tuple[TypeAdapter[Any], Any]] = {
    "hello": (
        frames.HELLO,
        NodeHello(
            name="n",
            cluster_id=CLUSTER,
            engine=ENGINE,
            address="192.0.2.1",
            seen=SEEN,
            testimony=Told(assignments=(ASSIGNED,), copies=(COPY,)),
        ),
    ),
    "registration": (
        frames.REGISTRATION,
        Registration(cluster_id=CLUSTER, node_id=NODE, session=2, control_planes=("wss://a",), quarantine="why"),
    ),
    "assignments": (
        frames.ASSIGNMENTS,
        NodeAssignments(
            cluster_id=CLUSTER,
            session=2,
            base=0,
            revision=5,
            containers=(ASSIGNED,),
            images=(ImageRequest(request_id=number(4), reference="a:b", pull=Pull.ALWAYS),),
            swarm=SwarmOrder(),
            lineage=number(7),
            engine="AAAA:/var/lib/docker",
            word="keep x",
            copies=(COPY,),
        ),
    ),
    "report": (
        frames.REPORT,
        NodeReport(
            node_id=NODE,
            session=2,
            seq=9,
            applied_revision=5,
            engine=ENGINE,
            containers=(ContainerReport(container_id=number(1), observed=OBSERVED),),
            images=(
                ImageResult(request_id=number(4), image=ResolvedImage(reference="a:b", image_id="i", digest=None)),
            ),
            swarm=SwarmReport(seen=SwarmSeen()),
            strangers=Strangers(count=6, owned=9, key="k", names=("web-1",)),
        ),
    ),
    "beat": (frames.BEAT, Beat(node_id=NODE, session=2, engine_up=True)),
    "heard": (frames.HEARD, Heard(control_planes=("wss://a",))),
}
NAMES = list(EXAMPLES)


def said(name: str) -> tuple[TypeAdapter[Any], Any, Any]:
    """How a value is read, the value, and what is sent of it."""
    adapter, value = EXAMPLES[name]
    return adapter, value, json.loads(adapter.dump_json(value))


def grown(value: Any, body: Any) -> Any:
    """What a later release would send of the value: with more in every object, at any depth."""
    if dataclasses.is_dataclass(value):
        told = {each.name: grown(getattr(value, each.name), body[each.name]) for each in dataclasses.fields(value)}
        return {**told, "of_a_later_release": {"nested": [1, None]}}
    if isinstance(value, tuple | list) and isinstance(body, list):
        return [grown(one, each) for one, each in zip(value, body, strict=True)]
    return body


@pytest.mark.parametrize("name", NAMES)
def test_what_a_later_release_adds_is_ignored(name: str) -> None:
    adapter, value, body = said(name)
    assert frames.read(adapter, body) == value
    more = grown(value, body)
    assert "of_a_later_release" in more
    assert frames.read(adapter, more) == value


def lesser(value: Any, body: Any) -> Iterator[tuple[Any, Any]]:
    """The value and what is sent of it, each time without one thing that has a default, at any depth."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        for each in dataclasses.fields(value):
            if each.default is not dataclasses.MISSING or each.default_factory is not dataclasses.MISSING:
                default = each.default if each.default_factory is dataclasses.MISSING else each.default_factory()
                less = {key: told for key, told in body.items() if key != each.name}
                yield dataclasses.replace(value, **{each.name: default}), less
            for inner, told in lesser(getattr(value, each.name), body[each.name]):
                yield dataclasses.replace(value, **{each.name: inner}), {**body, each.name: told}
    elif isinstance(value, tuple) and isinstance(body, list):
        for n, (one, told) in enumerate(zip(value, body, strict=True)):
            for inner, less in lesser(one, told):
                yield (*value[:n], inner, *value[n + 1 :]), [*body[:n], less, *body[n + 1 :]]


@pytest.mark.parametrize("name", NAMES)
def test_what_an_earlier_release_does_not_say_has_its_default(name: str) -> None:
    adapter, value, body = said(name)
    cases = list(lesser(value, body))
    assert cases or name == "beat"
    for expected, less in cases:
        assert frames.read(adapter, less) == expected


def test_frames_of_release_0_1_are_read() -> None:
    recorded = json.loads(SAID.read_text(encoding="utf-8"))
    assert sorted(recorded) == sorted(NAMES)
    for name, body in recorded.items():
        adapter, value, _ = said(name)
        found = frames.read(adapter, body)
        # What was added to the examples since has its default.
        known = {each.name for each in dataclasses.fields(value)} & body.keys()
        assert {key: getattr(found, key) for key in known} == {key: getattr(value, key) for key in known}, name
