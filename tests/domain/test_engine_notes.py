"""What is said of how an engine is set up."""

from __future__ import annotations

from dataclasses import replace

import pytest

from domain.assignment import EngineInfo
from domain.engine_notes import (
    CONTAINERD,
    ENGINE,
    RUNC,
    Code,
    EngineNote,
    EngineSetup,
    engine_notes,
    flaws_of,
    parse_version,
)
from domain.node import notes_on

WELL = EngineSetup(
    runc="1.3.3", containerd="2.1.5", live_restore=True, user_namespaces=True, icc=False, swarm=False
)  # fmt: skip
BARE = EngineSetup(
    runc="1.1.5", containerd="1.4.1", open_api=("http://0.0.0.0:2375", "https://10.0.0.1:2376"), live_restore=False,
    user_namespaces=False, icc=True, authorization=True,
)  # fmt: skip


def only(setup: EngineSetup, version: str = "29.3.1") -> EngineNote:
    notes = engine_notes(version, setup)
    assert notes is not None
    (note,) = notes
    return note


def test_nothing_is_said_of_an_engine_that_is_well() -> None:
    assert engine_notes("29.3.1", WELL) == ()


def test_what_an_engine_does_not_say_is_no_finding_but_its_runc() -> None:
    assert only(EngineSetup()).code is Code.RUNC_UNKNOWN
    assert only(replace(WELL, runc="\x1b[2J1.1.5")).code is Code.RUNC_UNKNOWN


def test_an_agent_that_does_not_say_is_told_from_one_that_finds_nothing() -> None:
    assert engine_notes("20.10.24", None) is None
    assert notes_on(None) is None
    engine = EngineInfo(engine_id="E", version="29.3.1", storage_driver="overlay2", cpus=2, memory=4096)
    assert notes_on(engine) is None
    assert notes_on(replace(engine, setup=WELL)) == ()


def test_the_worst_comes_first_and_each_has_its_remedy() -> None:
    notes = engine_notes("20.10.24", BARE)
    assert notes is not None
    assert [note.code for note in notes] == [
        Code.API, Code.RUNC, Code.CONTAINERD, Code.AUTHORIZATION, Code.USER_NAMESPACES, Code.LIVE_RESTORE,
        Code.DEFAULT_BRIDGE,
    ]  # fmt: skip
    assert all(note.says and note.remedy and not note.says.endswith(".") for note in notes)


def test_an_api_that_asks_for_no_certificate_names_its_addresses() -> None:
    note = only(replace(WELL, open_api=BARE.open_api))
    assert (note.code, "http://0.0.0.0:2375, https://10.0.0.1:2376" in note.says) == (Code.API, True)
    assert '"tlsverify"' in note.remedy


def test_live_restore_is_not_asked_for_where_it_cannot_be() -> None:
    alone, fleet = (only(replace(WELL, live_restore=False, swarm=swarm)) for swarm in (False, True))
    assert alone.code is fleet.code is Code.LIVE_RESTORE
    assert '"live-restore": true' in alone.remedy
    assert fleet.remedy.startswith("an engine in a swarm cannot have it")
    assert engine_notes("29.3.1", replace(WELL, live_restore=None)) == ()


def test_namespaces_and_the_default_bridge() -> None:
    note = only(replace(WELL, user_namespaces=False))
    assert note.code is Code.USER_NAMESPACES
    assert "accept-engine" in note.remedy
    assert only(replace(WELL, icc=True)).code is Code.DEFAULT_BRIDGE
    assert engine_notes("29.3.1", replace(WELL, user_namespaces=None, icc=None)) == ()


def test_a_version_names_what_is_known_of_it_and_that_it_is_the_version_alone() -> None:
    note = only(replace(WELL, runc="1.1.5+ds1"))
    assert note.code is Code.RUNC
    assert "runc 1.1.5+ds1" in note.says
    assert "CVE-2024-21626 (mended in 1.1.12)" in note.says
    assert "a distribution may have mended" in note.says
    note = only(replace(WELL, containerd="1.4.1"))
    assert (note.code, "CVE-2020-15257 (mended in 1.3.9, 1.4.3)" in note.says) == (Code.CONTAINERD, True)


def test_only_who_has_plugins_for_authorization_hears_of_them() -> None:
    assert engine_notes("28.2.2", WELL) == ()
    note = only(replace(WELL, authorization=True), "28.2.2")
    assert (note.code, "CVE-2026-34040" in note.says, "CVE-2024-41110" in note.says) == (
        Code.AUTHORIZATION,
        True,
        False,
    )


OF_2025 = "CVE-2025-31133, CVE-2025-52565, CVE-2025-52881"


@pytest.mark.parametrize(
    ("version", "flaws"),
    [
        ("1.0.0-rc6", ["CVE-2019-5736", "CVE-2021-30465", OF_2025]),
        ("1.0-rc6", ["CVE-2019-5736", "CVE-2021-30465", OF_2025]),
        ("1.0.0~rc10+dfsg2", ["CVE-2021-30465", OF_2025]),
        ("1.0.0-rc93", ["CVE-2021-30465", "CVE-2024-21626", OF_2025]),
        ("1.0.0-rc95", ["CVE-2024-21626", OF_2025]),
        ("1.0.3", ["CVE-2024-21626", OF_2025]),
        ("1.1.5+ds1", ["CVE-2024-21626", OF_2025]),
        ("1.1.11", ["CVE-2024-21626", OF_2025]),
        ("1.1.12", [OF_2025]),
        ("1.1.12-0ubuntu2~22.04.1", [OF_2025]),
        ("1.2.7", [OF_2025]),
        ("1.2.8", []),
        ("1.3.0-rc.1", [OF_2025]),
        ("1.3.2", [OF_2025]),
        ("1.3.3", []),
        ("1.4.0-rc.2", [OF_2025]),
        ("1.4.0-rc.3", []),
        ("1.4.0", []),
        ("1.5.0-rc.1", []),
        ("v2.0.0", []),
        ("", []),
        ("N/A", []),
    ],
)
def test_versions_of_runc(version: str, flaws: list[str]) -> None:
    assert [flaw.cve for flaw in flaws_of(version, RUNC)] == flaws


@pytest.mark.parametrize(
    ("version", "flawed"), [("1.2.14", 1), ("1.3.8", 1), ("1.3.9", 0), ("1.4.2", 1), ("1.4.3", 0), ("1.6.20~ds1", 0)]
)
def test_versions_of_containerd(version: str, flawed: int) -> None:
    assert len(flaws_of(version, CONTAINERD)) == flawed


@pytest.mark.parametrize(
    ("version", "flawed"),
    [("20.10.24+dfsg1", 2), ("24.0.9", 2), ("25.0.5", 2), ("25.0.6", 1), ("26.0.2", 2), ("27.1.1", 1), ("29.3.0", 1),
     ("29.3.1", 0), ("29.4.0", 0), ("30.0.0", 0)],
)  # fmt: skip
def test_versions_of_docker(version: str, flawed: int) -> None:
    assert len(flaws_of(version, ENGINE)) == flawed


def test_versions_are_in_order() -> None:
    said = ["1.0.0-rc6", "1.0.0-rc93+dev", "1.0", "1.0.1", "1.10.0", "v2.0.0-beta.1"]
    parsed = [parse_version(each) for each in said]
    assert None not in parsed
    assert parsed == sorted(parsed, key=lambda each: each or (0, 0, 0, 0))
    for none in ("", "1", "runc 1.1", "1.1.5 ", "1.1.5\n", "1.1." + "5" * 100, "\uff11.1"):
        assert parse_version(none) is None
