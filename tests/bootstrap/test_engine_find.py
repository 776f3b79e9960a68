"""Finding the Docker engine, against fake engines on real unix sockets."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from app import engine, engine_install
from app.engine import EngineState, context_host, find_engine, probe

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nOK"
BROKEN = b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class FakeEngine:
    """Answers every connection with the same bytes; with None it accepts and stays silent."""

    def __init__(self, path: Path, answer: bytes | None) -> None:
        self.url = f"unix://{path}"
        self._answer = answer
        self._held: list[socket.socket] = []
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            if self._answer is None:
                self._held.append(client)
                continue
            with client:
                client.recv(4096)
                client.sendall(self._answer)

    def close(self) -> None:
        # shutdown wakes the accept above; close alone does not.
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join(5)
        for client in self._held:
            client.close()


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A short home (socket paths are limited) without any Docker settings of the machine."""
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    path = Path(tempfile.mkdtemp(prefix="tt-"))
    monkeypatch.setattr(engine, "DEFAULT_SOCKET", path / "default.sock")
    yield path
    shutil.rmtree(path)


@pytest.fixture
def fake(folder: Path) -> Iterator[object]:
    made: list[FakeEngine] = []

    def make(name: str, answer: bytes | None = OK) -> FakeEngine:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        made.append(FakeEngine(path, answer))
        return made[-1]

    yield make
    for one in made:
        one.close()


def write_context(home: Path, name: str, host: str) -> None:
    digest = hashlib.sha256(name.encode()).hexdigest()
    meta = home / ".docker" / "contexts" / "meta" / digest
    meta.mkdir(parents=True)
    (meta / "meta.json").write_text(json.dumps({"Name": name, "Endpoints": {"docker": {"Host": host}}}))
    (home / ".docker" / "config.json").write_text(json.dumps({"currentContext": name}))


def test_the_default_socket_is_found(folder: Path, fake) -> None:
    made = fake("default.sock")
    found = find_engine(None, home=folder)
    assert found.ready
    assert found.url == made.url


def test_docker_host_is_the_only_candidate(folder: Path, fake) -> None:
    fake("default.sock")
    found = find_engine(f"unix://{folder}/gone.sock", home=folder)
    assert found.state is EngineState.MISSING
    assert "DOCKER_HOST" in found.advice


def test_the_current_context_goes_before_the_usual_places(folder: Path, fake) -> None:
    fake("default.sock")
    made = fake("ctx.sock")
    write_context(folder, "mine", made.url)
    assert find_engine(None, home=folder).url == made.url


def test_the_default_context_and_broken_files_mean_no_context(folder: Path) -> None:
    assert context_host(folder) is None
    write_context(folder, "default", "unix:///nowhere")
    assert context_host(folder) is None
    (folder / ".docker" / "config.json").write_text("{ not json")
    assert context_host(folder) is None
    (folder / ".docker" / "config.json").write_text('{"currentContext": "unknown"}')
    assert context_host(folder) is None


def test_desktop_and_rootless_sockets_are_found(folder: Path, fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder / "run"))
    rootless = fake("run/docker.sock")
    assert find_engine(None, home=folder).url == rootless.url
    desktop = fake(".docker/run/docker.sock")
    assert find_engine(None, home=folder).url == desktop.url


def test_nothing_at_all_is_one_sentence(folder: Path) -> None:
    found = find_engine(None, home=folder)
    assert found.state is EngineState.MISSING
    assert "install Docker" in found.advice
    assert "\n" not in found.advice


def test_a_socket_nobody_listens_on_is_silent(folder: Path) -> None:
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(folder / "left.sock"))
    left.close()
    found = probe(f"unix://{folder}/left.sock", "test")
    assert found.state is EngineState.SILENT
    assert "refused" in found.advice


def test_a_hanging_engine_is_silent_after_the_timeout(fake, monkeypatch: pytest.MonkeyPatch) -> None:
    made = fake("hang.sock", None)
    found = probe(made.url, "test")
    assert found.state is EngineState.SILENT
    assert "2 s" in found.advice


@pytest.mark.parametrize("answer", [BROKEN, b"garbage\r\n\r\n", b""])
def test_what_is_not_an_engine_is_silent(fake, answer: bytes) -> None:
    assert probe(fake("odd.sock", answer).url, "test").state is EngineState.SILENT


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a second user")
def test_no_permission_is_told_apart(folder: Path, fake) -> None:
    made = fake("default.sock")
    (folder / "default.sock").chmod(0o600)
    folder.chmod(0o755)
    os.seteuid(65534)
    try:
        found = probe(made.url, "test")
    finally:
        os.seteuid(0)
    assert found.state is EngineState.DENIED
    assert "group docker" in found.advice


def test_a_chosen_engine_that_is_gone_is_never_replaced(folder: Path) -> None:
    with pytest.raises(engine_install.EngineError, match="DOCKER_HOST"):
        engine_install.require_engine(f"unix://{folder}/gone.sock", folder, yes=True, say=print)


def test_consent_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUTELA_INSTALL_DOCKER", "0")
    with pytest.raises(engine_install.EngineError, match="forbids"):
        engine_install._ask_to_install(True)
    monkeypatch.setenv("TUTELA_INSTALL_DOCKER", "1")
    engine_install._ask_to_install(False)
    monkeypatch.delenv("TUTELA_INSTALL_DOCKER")
    engine_install._ask_to_install(True)
    with open(os.devnull) as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        with pytest.raises(engine_install.EngineError, match="--yes"):
            engine_install._ask_to_install(False)


def test_a_stale_pid_file_of_dockerd_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "docker.pid"
    assert not engine_install._drop_stale_pid(path, "dockerd")
    path.write_text(str(os.getpid()))
    assert engine_install._drop_stale_pid(path, "dockerd")
    assert not path.exists()
