"""The tables of the benchmarks: a case that is lost stays in them."""

from __future__ import annotations

from pathlib import Path

from bench._peers import Bar, Case, picture, table

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
