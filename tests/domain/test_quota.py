"""What of an account is beyond its quota."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from domain.quota import Quota, Used, exceeded, grows
from domain.service import Service
from tests.planning.model import a_service


def test_what_is_too_much_names_both_figures_and_what_helps() -> None:
    used = Used(services=3, containers=7)
    assert exceeded(Quota(), used, "eve") == {}
    assert exceeded(Quota(services=3, containers=7), used, "eve") == {}
    found = exceeded(Quota(services=2, containers=6), used, "eve")
    assert list(found) == ["services", "target_num_containers"]
    assert found["services"].startswith("eve would have 3 services, the quota is 2: terminate others, or ask an admin")
    assert "7 containers, the quota is 6" in found["target_num_containers"]
    assert all("./tutela admin users quota eve" in text for text in found.values())


def test_where_memory_or_cpu_is_limited_every_service_says_how_much() -> None:
    used = Used(services=2, containers=3, memory=768, cpu_shares=3072)
    assert exceeded(Quota(memory=768, cpu_shares=3072), used, "eve") == {}
    found = exceeded(Quota(memory=512, cpu_shares=2048), used, "eve")
    assert found["memory"].startswith(
        "the containers of eve might use 768 MB of memory, the quota is 512: lower memory"
    )
    assert "3072 CPU shares, the quota is 2048" in found["cpu_shares"]
    named = exceeded(Quota(memory=9999), replace(used, without_memory=("a", "b", "c", "d")), "eve")["memory"]
    assert named.endswith("every service must say how much a container may use: a, b, c and 1 more do not")
    assert exceeded(Quota(cpu_shares=1), replace(used, without_cpu_shares=("a",)), "eve")["cpu_shares"].endswith(
        ": a does not"
    )
    assert exceeded(Quota(), replace(used, without_memory=("a",)), "eve") == {}


@pytest.mark.parametrize("field", ["memory", "cpu_shares"])
def test_what_makes_it_more(field: str) -> None:
    def made(most: int | None, target: int = 1) -> Service:
        sized: dict[str, Any] = {field: most}
        return replace(a_service(), target=target, spec=replace(a_service().spec, **sized))

    assert grows(made(None), made(None, target=2))
    assert not grows(made(None, target=2), made(None))
    assert grows(made(256), made(512))
    assert grows(made(256), made(None)), "without a limit it may take all"
    assert not grows(made(256), made(256))
    assert not grows(made(256), made(128))
    assert not grows(made(None), made(128))
