"""Commands for whoever works on Tutela: tests, checks, measurements."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import typer

from app.cli import CommandError
from app.cli.process import ROOT

PACKAGE_OF = {
    "dockerd": "docker.io",
    "ip": "iproute2",
    "iptables": "iptables",
    "busybox": "busybox-static",
    "docker-registry": "docker-registry",
}
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CHECKS: Sequence[tuple[str, Sequence[str]]] = (
    ("format", ("ruff", "format", "--check", "--quiet")),
    ("lint", ("ruff", "check", "--quiet")),
    ("types", ("mypy",)),
    ("tests", ("mypy", "tests", "bench")),
    ("walls", ("lint-imports",)),
)


SEEDS = ("--runs", "1000", "--jobs", "2", "--seconds", "360", "--keep-going")
"""A thousand take two cores less than six minutes; on a machine that is slower, as many as there is time for."""

TESTS = ("tests", "-m", "not long", "-n", "2", "--dist", "loadfile", "--no-loadscope-reorder")
"""Most tests wait for engines and processes; each worker has its own. A file stays with one worker. In the order of
their names: by number of tests the few long ones would come last, and one worker would wait for the other."""


def test(arguments: Sequence[str]) -> int:
    """Install what the tests need where that is ours to do, and run those that are asked for, as pytest has it; without
    arguments all, after the simulator's seeds. Returns 0 when all is well. Raises CommandError."""
    _install_missing()
    environment = _environment() | {"PYTHONUNBUFFERED": "1"}
    suite = [sys.executable, "-P", "-m", "pytest", *(arguments or TESTS)]
    if arguments:
        _become(suite, environment)
    # Alone, since they take every core: beside other tests they would take twice as long, and so would those.
    seeds = [sys.executable, "-P", "-m", "tests.simulation", *SEEDS]
    found = subprocess.run(seeds, cwd=ROOT, env=environment | {"PYTHONHASHSEED": "0"}, check=False).returncode
    return found or subprocess.run(suite, cwd=ROOT, env=environment, check=False).returncode


def bench(arguments: Sequence[str]) -> None:
    """Become `python -m bench.NAME`; without a name, bench.peers. Raises CommandError for an unknown name."""
    if not arguments or arguments[0].startswith("-"):
        arguments = ["peers", *arguments]
    known = sorted(p.stem for p in (ROOT / "bench").glob("*.py") if not p.stem.startswith("_"))
    if arguments[0] not in known:
        raise CommandError(f"say what to measure: ./tutela bench {' | '.join(known) or '(none yet)'}", 2)
    _install_missing()
    _become([sys.executable, "-P", "-m", f"bench.{arguments[0]}", *arguments[1:]], _environment())


def chaos(arguments: Sequence[str]) -> None:
    """Become `python -m tests.chaos`."""
    _install_missing()
    _become([sys.executable, "-P", "-m", "tests.chaos", *arguments], _environment())


def histories(arguments: Sequence[str]) -> None:
    """Become `python -m tests.histories`."""
    _become([sys.executable, "-P", "-m", "tests.histories", *arguments], _environment())


def simulate(arguments: Sequence[str]) -> None:
    """Become `python -m tests.simulation`. Sets of strings have one order, or a seed would not replay."""
    _become([sys.executable, "-P", "-m", "tests.simulation", *arguments], _environment() | {"PYTHONHASHSEED": "0"})


def check() -> int:
    """Run every check even when one fails. Returns 0 when all passed, else 1."""
    failed: list[str] = []
    for name, argv in CHECKS:
        program = str(Path(sys.executable).with_name(argv[0]))
        start = time.monotonic()
        code = subprocess.run([program, *argv[1:]], cwd=ROOT, env=_environment(), check=False).returncode
        verdict = "ok" if code == 0 else f"FAILED ({code})"
        typer.echo(f"{name:8} {verdict:12} {time.monotonic() - start:5.1f} s")
        if code != 0:
            failed.append(name)
    typer.echo("all checks passed" if not failed else f"failed: {', '.join(failed)}")
    return 1 if failed else 0


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def _become(argv: Sequence[str], environment: dict[str, str]) -> None:
    sys.stdout.flush()
    os.chdir(ROOT)
    os.execve(argv[0], list(argv), environment)  # noqa: S606 - our own interpreter


def _install_missing() -> None:
    packages = [package for program, package in PACKAGE_OF.items() if shutil.which(program, path=SYSTEM_PATH) is None]
    if not packages or os.geteuid() != 0 or not Path("/etc/debian_version").exists():
        return
    from app.engine_install import EngineError, apt_install
    from app.settings import default_state_dir

    typer.echo(f"installing {' '.join(packages)}")
    try:
        apt_install(packages, default_state_dir() / "apt.log")
    except EngineError as error:
        raise CommandError(str(error)) from error
