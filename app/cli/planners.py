"""Measurements of the pure planners' tests: branches covered, properties by the thousand, mutants killed.

Which modules those are, and which tests, says `[tool.mutmut]` in pyproject.toml.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path

import typer

from app.cli import CommandError
from app.cli.process import ROOT

LEAST_SCORE = 85.0
"""Per cent of the mutants that tests must notice (RELIABILITY T1)."""

MUTANTS_EXAMPLES = 12
"""Examples a property gets for each mutant: it runs thousands of times."""


def coverage() -> None:
    """Run the tests that are cases, not properties: what is covered may not depend on luck. Raises CommandError."""
    modules, tests = _planners()
    python = (sys.executable, "-P", "-m")
    include = f"--include={','.join(modules)}"
    cases = ("pytest", "-q", "-m", "not hypothesis", "-p", "no:cacheprovider", *tests)
    report = ("report", include, "--show-missing", "--skip-covered", "--fail-under=100")
    with tempfile.TemporaryDirectory(prefix="tutela-coverage-") as scratch:
        env = _environment() | {"COVERAGE_FILE": f"{scratch}/data"}
        _must([*python, "coverage", "run", include, "-m", *cases], env, "its cases failed")
        why = "a branch of the planners is in no case: add one, or delete the branch"
        _must([*python, "coverage", *report], env, why)


def properties(examples: int) -> None:
    """Run the properties with so many examples each. Raises CommandError."""
    _, tests = _planners()
    env = _environment() | {"TUTELA_EXAMPLES": str(examples)}
    argv = [sys.executable, "-P", "-m", "pytest", "-m", "hypothesis", "--timeout=0", "--durations=0", "-q", *tests]
    _must(argv, env, "a property does not hold")


def mutate(names: Sequence[str], processes: int) -> None:
    """Run mutmut over all planners, or those mutants whose names match; prints the survivors and the score.

    Raises CommandError when the score is too low. Begins anew each time: what was found with other tests says nothing.
    """
    shutil.rmtree(ROOT / "mutants", ignore_errors=True)
    env = _environment() | {"TUTELA_FIXED_EXAMPLES": "1", "TUTELA_EXAMPLES": str(MUTANTS_EXAMPLES)}
    # The copy in mutants/ is to be imported, not the sources.
    env.pop("PYTHONPATH")
    mutmut = str(Path(sys.executable).with_name("mutmut"))
    _must(["nice", "-n", "15", mutmut, "run", "--max-children", str(processes), *names], env, "mutmut gave up")
    _must([mutmut, "results"], env, "mutmut has no results")
    _must([mutmut, "export-cicd-stats"], env, "mutmut has no results")
    found = json.loads((ROOT / "mutants" / "mutmut-cicd-stats.json").read_text(encoding="utf-8"))
    noticed = found["killed"] + found["timeout"] + found["segfault"]
    tried = noticed + found["survived"] + found["no_tests"] + found["suspicious"]
    score = 100 * noticed / max(tried, 1)
    typer.echo(f"{noticed} of {tried} mutants noticed: {score:.1f} %, at least {LEAST_SCORE:.0f} % wanted")
    if score < LEAST_SCORE:
        raise CommandError("the tests of the planners notice too little")


def _planners() -> tuple[list[str], list[str]]:
    """The modules and the tests, as pyproject.toml has them."""
    told = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["mutmut"]
    return told["only_mutate"], told["pytest_add_cli_args_test_selection"]


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def _must(argv: Sequence[str], environment: dict[str, str], failure: str) -> None:
    if subprocess.run(argv, cwd=ROOT, env=environment, check=False).returncode != 0:
        raise CommandError(failure)
