"""Programs that are launched are processes of their own, whether the product was loaded before or is by themselves."""

from __future__ import annotations

import os
import signal
from functools import partial
from pathlib import Path

import pytest

from app.serve_codes import BAD_SETTINGS
from tests.harness import launch as launching
from tests.harness.claims import free_port
from tests.harness.launch import CLI, SERVE, launch
from tests.harness.server import ROOT
from tests.harness.wait import wait_for


@pytest.fixture(params=["loaded before", "new interpreter"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "new interpreter":
        monkeypatch.setattr(launching, "_warm", False)


def _environment(folder: Path, **more: str) -> dict[str, str]:
    own = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "TUTELA_STATE_DIR": str(folder / "state")}
    return {**own, **more}


def _says(log: Path, word: str) -> bool:
    return log.exists() and word in log.read_text()


@pytest.mark.usefixtures("way")
def test_a_program_has_its_words_its_environment_and_a_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUTELA_PORT", "not for it")
    log = tmp_path / "log"
    log.write_text("before\n")
    version = launch(CLI, "--version", env=_environment(tmp_path), log=log)
    assert version.wait(timeout=60) == 0
    before, said = log.read_text().splitlines()
    assert (before, said.split()[0]) == ("before", "tutela")
    assert launch(CLI, "nonsense", env=_environment(tmp_path), log=log).wait(timeout=60) == 2
    status = launch(CLI, "agent", "status", env=_environment(tmp_path), log=log)
    assert status.wait(timeout=60) == 3  # no node, and settings that can be read
    bad = launch(SERVE, env=_environment(tmp_path, TUTELA_PORT="none"), log=log)
    assert bad.wait(timeout=60) == BAD_SETTINGS == bad.poll()
    assert "TUTELA_PORT" in log.read_text().splitlines()[-1]


@pytest.mark.usefixtures("way")
def test_a_program_is_a_process_that_signals_reach(tmp_path: Path) -> None:
    env = _environment(
        tmp_path,
        TUTELA_ROLES="api",
        TUTELA_PORT=str(free_port()),
        TUTELA_AGENT_PORT=str(free_port()),
        DATABASE_URL="postgresql://nobody@127.0.0.1:9/nothing",
    )
    for number, code in ((signal.SIGTERM, 0), (signal.SIGKILL, -signal.SIGKILL)):
        log = tmp_path / f"log{number}"
        program = launch(SERVE, env=env, log=log)
        wait_for(partial(_says, log, "database"), timeout=60, what="its first words")
        assert program.poll() is None
        assert program.pid != os.getpid()
        program.send_signal(number)
        assert program.wait(timeout=60) == code == program.returncode
