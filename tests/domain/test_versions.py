"""What makes another version of a service and of a stack, and what does not (decision 28)."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from domain import versions
from domain.pause import Pause
from domain.service import Service, ServiceWant
from domain.spec import Link, ServiceSpec, Strategy
from domain.stack import Stack

NOW = datetime(2026, 1, 1, tzinfo=UTC)
WEB = Service(
    id=UUID(int=1), account_id=UUID(int=9), account="admin", name="web", unique_name="web",
    spec=ServiceSpec(image="a", env=(("A", "1"),)), target=2, want=ServiceWant.RUNNING, subnet="10.0.0.0/24",
    created_at=NOW,
)  # fmt: skip
EVERYWHERE = replace(WEB, spec=replace(WEB.spec, deployment_strategy=Strategy.EVERY_NODE))
SHOP = Stack(id=UUID(int=8), account_id=UUID(int=9), name="shop", nickname=None, created_at=NOW)


@pytest.mark.parametrize(
    "asked",
    [
        {"spec": replace(WEB.spec, env=(("A", "2"),))},
        {"spec": replace(WEB.spec, tags=("blue",))},
        {"spec": replace(WEB.spec, links=(Link(name="db", to_service=UUID(int=2)),))},
        {"target": 3},
        {"want": ServiceWant.STOPPED},
        {"id": UUID(int=2)},
    ],
)
def test_what_is_asked_for_is_another_version(asked: dict[str, Any]) -> None:
    other = replace(WEB, **asked)
    assert versions.of_service(other) != versions.of_service(WEB)
    assert versions.of_stack(SHOP, [other]) != versions.of_stack(SHOP, [WEB])


@pytest.mark.parametrize(
    "became",
    [
        {"deploy_gen": 2},
        {"start_gen": 1},
        {"started_at": NOW},
        {"stopped_at": NOW},
        {"paused": Pause(since=NOW, by="x")},
    ],
    ids=lambda each: str(*each),
)
def test_what_becomes_of_it_is_none(became: dict[str, Any]) -> None:
    assert versions.of_service(replace(WEB, **became)) == versions.of_service(WEB)


def test_a_target_that_follows_the_nodes_is_nobodys_wish() -> None:
    assert versions.of_service(replace(EVERYWHERE, target=5)) == versions.of_service(EVERYWHERE)


def test_a_stack_has_versions_of_its_own() -> None:
    one = versions.of_stack(SHOP, [WEB])
    for stack, members in (
        (replace(SHOP, nickname="n"), [WEB]),
        (replace(SHOP, id=UUID(int=7)), [WEB]),
        (SHOP, []),
        (SHOP, [WEB, EVERYWHERE]),
    ):
        assert versions.of_stack(stack, members) != one
    assert versions.of_stack(replace(SHOP, deployed_at=NOW), [WEB]) == one
