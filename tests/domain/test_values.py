"""Small rules: images, restarts, placement."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from domain.image import default_service_name, parse
from domain.registry import ImageState
from domain.restarts import Leave, Restart, RestartHistory, decide, started
from domain.spec import CrashPolicy
from domain.trigger import TriggerOperation
from domain.volume import VolumeState

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "full", "name"),
    [
        ("tutum/hello-world", "tutum/hello-world:latest", "hello-world"),
        ("registry.local:5000/team/app:v2", "registry.local:5000/team/app:v2", "app"),
        ("localhost:5000/a_b", "localhost:5000/a_b:latest", "a-b"),
        ("app@sha256:" + "a" * 64, "app@sha256:" + "a" * 64, "app"),
        ("redis", "redis:latest", "redis"),
    ],
)
def test_references(text: str, full: str, name: str) -> None:
    reference = parse(text)
    assert reference is not None
    assert str(reference) == full
    assert default_service_name(reference) == name


@pytest.mark.parametrize(
    "text", ["", "UPPER/case", "a b", "a:b:c", "app:", "a/../b", "x" * 300, "app@sha256:12", "\u00e4"]
)
def test_what_is_no_reference(text: str) -> None:
    assert parse(text) is None


def test_the_first_restart_is_at_once_and_then_pauses_double_to_a_minute() -> None:
    history, now, pauses = RestartHistory(), NOW, []
    for _ in range(10):
        decision = decide(CrashPolicy.ALWAYS, exit_code=1, ended_at=now, history=history, now=now)
        assert isinstance(decision, Restart)
        pauses.append((decision.at - now).total_seconds())
        history = started(history, now, decision.at)
        now = decision.at
    assert pauses == [0, 1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_a_calm_minute_starts_the_count_anew() -> None:
    history = RestartHistory(count=7, last_start=NOW)
    later = NOW + timedelta(seconds=61)
    assert decide(CrashPolicy.ALWAYS, exit_code=1, ended_at=later, history=history, now=later) == Restart(at=later)


@pytest.mark.parametrize(
    ("policy", "code", "restart"),
    [
        (CrashPolicy.OFF, 1, False),
        (CrashPolicy.ON_FAILURE, 0, False),
        (CrashPolicy.ON_FAILURE, 137, True),
        (CrashPolicy.ON_FAILURE, None, True),
        (CrashPolicy.ALWAYS, 0, True),
    ],
)
def test_which_ends_are_restarted(policy: CrashPolicy, code: int | None, restart: bool) -> None:
    decision = decide(policy, exit_code=code, ended_at=NOW, history=RestartHistory(), now=NOW)
    assert isinstance(decision, Restart) is restart
    assert isinstance(decision, Leave) is not restart


def test_names_that_clients_know() -> None:
    assert {each.value for each in TriggerOperation} == {"REDEPLOY", "SCALEUP"}
    assert {each.value for each in VolumeState} == {"Created", "Terminated"}
    assert {each.value for each in ImageState} == {"Empty", "Success"}
