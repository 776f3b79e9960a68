"""Rules of the house that no linter knows (CONTRIBUTING)."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

from domain.action import ActionState
from domain.container import ContainerState
from domain.node import NodeState
from domain.service import ServiceState
from domain.stack import StackState

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted(
    path for package in ("app", "agents", "bench", "domain", "orchestrator") for path in (ROOT / package).rglob("*.py")
)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_is_longer_than_a_newcomer_reads(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


def test_state_names_are_spelled_in_the_domain_only() -> None:
    kinds = (ServiceState, ActionState, ContainerState, NodeState, StackState)
    names = {state.value for kind in kinds for state in kind} - {"Success", "Init"}
    quote = "[\"']"
    literal = re.compile("|".join(f"{quote}{re.escape(name)}{quote}" for name in sorted(names)))
    found = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in SOURCES
        if path.relative_to(ROOT).parts[0] not in {"domain", "bench"}
        for match in literal.finditer(path.read_text(encoding="utf-8"))
    ]
    assert found == []


def test_sql_is_in_the_store_only() -> None:
    """What measures looks at the database from outside."""
    statement = re.compile(r'"(SELECT|INSERT INTO|UPDATE|DELETE FROM) [a-z*(]')
    outside = [
        str(path.relative_to(ROOT))
        for path in SOURCES
        if statement.search(path.read_text(encoding="utf-8")) and not {"store", "bench"} & {*path.parts}
    ]
    assert outside == []


def test_nothing_committed_names_a_machine_or_a_package_host() -> None:
    hosts = re.compile(r"(pypi|pythonhosted|npmjs|debian)\.(org|com)/")
    for lock in sorted((ROOT / "requirements").glob("*.txt")):
        assert "://" not in lock.read_text(encoding="utf-8"), lock.name
        assert not hosts.search(lock.read_text(encoding="utf-8")), lock.name


def test_the_domain_needs_the_standard_library_only() -> None:
    """Its package docstring says so; a decision that imports more can no longer be replayed anywhere."""
    known = {*sys.stdlib_module_names, "domain"}
    for path in sorted((ROOT / "domain").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                assert str(node.module).partition(".")[0] in known, path.name
            elif isinstance(node, ast.Import):
                assert {alias.name.partition(".")[0] for alias in node.names} <= known, path.name
