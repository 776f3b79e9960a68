"""A short run of `./tutela chaos` on one host, and the pure parts of it."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest

from tests.chaos.fault import Fault
from tests.chaos.faults import FAULTS
from tests.chaos.history import Belief, Call, Intent, Outcome, contradiction
from tests.chaos.lives import Life, fewest, too_many, twice
from tests.chaos.plan import strikes
from tests.chaos.report import Recovery, Report
from tests.chaos.run import run
from tests.chaos.timeline import Timeline
from tests.harness.server import ROOT

KINDS = ["control plane killed", "agent killed", "dockerd killed", "container killed"]


def test_a_seed_says_what_strikes_when() -> None:
    first = list(islice(strikes(7, KINDS), 12))
    assert first == list(islice(strikes(7, KINDS), 12))
    assert first != list(islice(strikes(8, KINDS), 12))
    for begin in range(0, 12, 4):
        assert {each.name for each in first[begin : begin + 4]} == set(KINDS)


def test_the_table_has_the_kinds_that_the_bar_asks_for() -> None:
    assert len(FAULTS) >= 24
    assert all(fault.bound > 0 and fault.stays[0] <= fault.stays[1] for fault in FAULTS.values())


def test_the_page_has_a_row_for_every_kind() -> None:
    page = (ROOT / "docs" / "design" / "chaos.md").read_text(encoding="utf-8")
    missing = [row for fault in FAULTS.values() if (row := _row(fault)) not in page]
    assert not missing, "\n".join(missing)


def _row(fault: Fault) -> str:
    low, high = fault.stays
    stays = f"{low:g}-{high:g}" if high else "-"
    return f"| {fault.name} | {fault.number} | {fault.bound:g} | {stays} |"


def life(
    began: float, last: float, *, host: str = "h1", key: str = "k", name: str = "web-1", ended: float | None = None
) -> Life:
    return Life(
        host=host, service="s", name=name, key=key, engine_id=f"{host}{began}", began=began, last=last, ended=ended
    )


def test_a_slot_runs_twice_only_when_that_is_certain() -> None:
    assert list(twice([life(1, 5), life(5.1, 9, host="h2")])) == []
    assert list(twice([life(1, 5), life(4, 9, host="h2", name="web-2")])) == []
    (found,) = twice([life(4, 9, host="h2"), life(1, 5)])
    assert found.startswith("I2a: web-1 ran twice for 1.00 s at least")
    again = replace(life(4, 9), engine_id=life(1, 5).engine_id)
    assert list(twice([life(1, 5), again])) == [], "one container, started again between two looks"


def test_a_life_that_no_fault_explains_is_told() -> None:
    lives = [life(1, 2), life(3, 4), life(1, 2, key="other"), life(3, 4, key="other")]
    assert list(too_many(lives, {"k": 2})) == []
    (found,) = too_many(lives, {"k": 1})
    assert "web-1 on h1 had 2 lives, 1 are explained" in found


def test_the_fewest_that_ran_at_a_time() -> None:
    lives = [life(0, 10), life(0, 4, ended=5, name="web-2"), life(6, 10, name="web-2")]
    assert fewest(lives, "s", 0, 10) == 1
    assert fewest(lives, "s", 0, 5) == 2
    assert fewest(lives, "s", 6, 10) == 2
    assert fewest(lives, "another", 0, 4) == 0


def test_what_users_were_told_is_what_may_be() -> None:
    belief = Belief(targets=frozenset({2})).after(Call(intent=Intent.RUN), Outcome.OK)
    assert contradiction(belief, "Running", 2, ["a-1", "a-2"]) is None
    assert contradiction(belief, "Running", 2, ["a-1", "a-1"]) is not None
    assert contradiction(belief, "Stopped", 2, []) is not None
    assert contradiction(belief.after(Call(intent=Intent.STOP), Outcome.REFUSED), "Stopped", 2, []) is not None
    unknown = belief.after(Call(intent=Intent.STOP), Outcome.UNKNOWN)
    assert contradiction(unknown, "Stopped", 2, []) is None
    assert contradiction(unknown, "Running", 2, ["a-1", "a-2"]) is None
    scaled = belief.after(Call(target=3), Outcome.UNKNOWN)
    assert {
        target for target in range(5) if contradiction(scaled, "Running", target, list("abcd"[:target])) is None
    } == {
        2,
        3,
    }
    assert contradiction(unknown.after(Call(intent=Intent.GONE), Outcome.OK), "Terminated", 0, []) is None


def test_a_report_says_how_near_to_its_bound_each_kind_came() -> None:
    recoveries = [Recovery(name="x", number="F1", took=took, bound=4, factor=2) for took in (1, 2, 6)]
    report = Report(seed=1, recoveries=recoveries, violations=["v"], figures={"calls": "3 ok"}, logs="there")
    text = "\n".join(report.lines())
    assert "x                                  F1           3    2.00    6.00    6.00      4.0    75%" in text
    assert "VIOLATION v" in text
    assert not recoveries[-1].late
    assert Recovery(name="x", number="F1", took=9, bound=4, factor=2).late


@pytest.mark.engine
@pytest.mark.timeout(600)
def test_nothing_notices_when_everything_is_killed_in_turn(database_url: str, tmp_path: Path) -> None:
    report = run(
        database_url, hosts=1, seconds=0, seed=7, timeline=Timeline(tmp_path, print), users=1, kinds=KINDS, warm_up=1
    )
    print(*report.lines(), sep="\n")
    assert not report.violations
    assert {each.name for each in report.recoveries} == set(KINDS)
