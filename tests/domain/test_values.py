"""Small rules: images, restarts, placement."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from domain.errors import Invalid
from domain.image import default_service_name, parse
from domain.registry import ImageState
from domain.restarts import (
    CALM,
    REPLACEMENT_WINDOW,
    Leave,
    Restart,
    RestartHistory,
    calm_count,
    decide,
    recent,
    started,
)
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
        ("a/b/c__d", "a/b/c__d:latest", "c-d"),
        ("a/" + "b" * 62 + ".c", "a/" + "b" * 62 + ".c:latest", "b" * 62),
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


def test_a_clock_that_was_set_back_puts_no_restart_off() -> None:
    """Found by seed 85 of the simulator: the next restart waited for the old time to come again."""
    history = RestartHistory(count=3, last_start=NOW + timedelta(hours=1))
    assert decide(CrashPolicy.ALWAYS, exit_code=1, ended_at=NOW, history=history, now=NOW) == Restart(at=NOW)


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


def test_what_counts_as_calm_and_as_recent() -> None:
    history = RestartHistory(count=3, last_start=NOW)
    assert calm_count(history, NOW + CALM) == 0
    assert calm_count(history, NOW + CALM - timedelta(seconds=1)) == 3
    assert calm_count(history, None) == 3
    assert calm_count(RestartHistory(count=3), NOW + CALM) == 3
    assert started(history, NOW + CALM, NOW) == RestartHistory(count=1, last_start=NOW)
    old, new = NOW - REPLACEMENT_WINDOW, NOW - REPLACEMENT_WINDOW + timedelta(seconds=1)
    assert recent((old, new), NOW) == (new,)


def test_why_a_container_is_left() -> None:
    def said(policy: CrashPolicy, count: int) -> str:
        history = RestartHistory(count=count, last_start=NOW)
        left = decide(policy, exit_code=1, ended_at=NOW, history=history, now=NOW, autoreplace=CrashPolicy.ON_FAILURE)
        assert isinstance(left, Leave)
        return left.reason

    assert said(CrashPolicy.OFF, 0) == "autorestart is OFF"
    assert said(CrashPolicy.ALWAYS, 3) == "it ended again after 3 restarts, and autoreplace is ON_FAILURE"


def test_all_complaints_are_in_one_sentence() -> None:
    assert str(Invalid({"a": "is bad", "b": "too"})) == "a: is bad; b: too"
