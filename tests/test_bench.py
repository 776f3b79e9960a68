"""The tables of the benchmarks: a case that is lost stays in them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import _peers
from bench._peers import Bar, Case, picture, table, write
from bench._seen import Turn, without

WHO = ["raw engine", "Docker Swarm", "Tutela"]


def case(bar: Bar | None, raw: float, peer: float, ours: float | None) -> Case:
    made = Case(bar=bar)
    for who, seconds in zip(WHO, (raw, peer, ours), strict=True):
        if seconds is not None:
            made.add(who, seconds)
    return made


def test_verdicts() -> None:
    assert case(None, 1, 1, 9).verdict == ""
    assert case(Bar(ratio=1.15), 2, 9, 2.2).verdict == "<= x1.15: met"
    assert case(Bar(ratio=1.15), 2, 9, 2.4).verdict == "<= x1.15: MISSED"
    assert case(Bar(more=0.15), 0.25, 0.4, 0.45).verdict == "<= +0.15 s: MISSED"
    assert case(Bar(ratio=1.15, as_peer=True), 6, 6.1, 6.2).verdict == "<= x1.15, <= Swarm: MISSED"
    assert case(Bar(ratio=1.15), 2, 2, None).verdict == "MISSED: it did not come about"


def test_table_and_picture(tmp_path: Path) -> None:
    cases = {"start 50": case(Bar(ratio=1.15), 2.0, 2.5, 2.2), "redeploy": case(None, 3, 17, None)}
    cases["start 50"].add("Tutela", 2.4)
    shown = table(cases, WHO, 2)
    assert "| start 50 | 2.00 (2.00-2.00) | 2.50 (2.50-2.50), x1.25 | 2.30 (2.20-2.40), x1.15 |" in shown
    assert "| redeploy | 3.00 (3.00-3.00) | 17.00 (17.00-17.00), x5.67 | - |  |" in shown
    drawn = picture(cases, WHO, tmp_path / "peers.json").read_text()
    assert drawn.startswith("<svg")
    assert "x1.15, 2.30 s" in drawn
    assert "x5.67, 17.00 s" in drawn


def test_who_cannot_do_it_says_why_and_the_peer_is_what_others_are_held_against(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Case(cannot={"raw engine": "nobody moves them"})
    made.add("Docker Swarm", 16.0)
    made.add("Tutela", 8.0)
    cases = {"cut": made, "log": case(None, 0.0001, 0.0002, 0.0003), "none runs": case(None, 0.0, 1.0, 0.0)}
    shown = table(cases, WHO, 1)
    assert "| cut | - nobody moves them | 16.00 (16.00-16.00) | 8.00 (8.00-8.00), x0.50 of Docker Swarm |" in shown
    assert "| log | 0.1 ms (0.1-0.1) | 0.2 ms (0.2-0.2), x2.00 | 0.3 ms (0.3-0.3), x3.00 |" in shown
    assert "| none runs | 0.00 (0.00-0.00), x0.00 of Docker Swarm | 1.00 (1.00-1.00) |" in shown
    drawn = picture(cases, WHO, tmp_path / "hosts.json").read_text()
    assert "x0.50 of Docker Swarm, 8.00 s" in drawn
    assert "x3.00, 0.3 ms" in drawn
    monkeypatch.setattr(_peers, "FOLDER", tmp_path)
    kept = json.loads(write("hosts", cases, {"cpus": 2}, 1, ["round 1: cut of Tutela failed"]).read_text())
    assert kept["cases"]["cut"]["cannot"] == {"raw engine": "nobody moves them"}
    assert kept["cases"]["log"]["median"]["Tutela"] == 0.0003
    assert kept["failed"] == ["round 1: cut of Tutela failed"]


def test_how_long_nothing_of_a_group_ran() -> None:
    def turn(at: float, began: bool, group: str = "single") -> Turn:
        return Turn(at=at, began=began, group=group)

    assert without([turn(1, True), turn(2, False)], "single", 1) == 0
    assert without([turn(1, False), turn(1.5, False, "group"), turn(3, True)], "single", 1) == 2
    assert without([turn(1, False), turn(2, True), turn(5, False), turn(6, True)], "single", 1) == 2
