"""Programs of the product, each a process of its own, begun from one that has loaded them already.

To import them takes a second of a core, and the suite starts them hundreds of times. Where nothing is `warm`, as in
benchmarks and chaos, a new interpreter loads them as for users. What a new one has for itself, and these share with
each other: the order of sets of strings, and the command line that `ps` shows.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import multiprocessing
import multiprocessing.util
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any, NoReturn, Protocol

ROOT = Path(__file__).resolve().parents[2]
SERVE, CLI = "app.serve", "app.cli"
_LOADED = ("app.serve", "app.roles", "app.fleet.joined", "app.migrate", "app.cli.agent", "httpx2", __name__)
_CLONE_NEWNET = 0x40000000

_forks = multiprocessing.get_context("forkserver")
_warm = False
_turn = threading.Lock()
"""To begin one looks at all others, and a code can be read once only."""


class Program(Protocol):
    """A process, as `subprocess.Popen` has it."""

    @property
    def pid(self) -> int: ...
    @property
    def returncode(self) -> int | None: ...
    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, number: int) -> None: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...


def warm() -> None:
    """From now on processes are begun from one that has loaded the product."""
    global _warm
    _forks.set_forkserver_preload(list(_LOADED))
    _warm = True
    # Before multiprocessing itself, which waits for what is left, and for ever for what is frozen.
    atexit.register(_end)


def _end() -> None:
    for each in multiprocessing.active_children():
        each.kill()


def launch(module: str, *words: str, env: Mapping[str, str], log: Path, netns: str | None = None) -> Program:
    """`python -m MODULE WORDS` with exactly that environment, its output added to the log.

    `netns`: the file of the network namespace that it runs in.
    """
    if not _warm:
        entered = ["nsenter", f"--net={netns}"] if netns else []
        with log.open("ab") as out:
            return subprocess.Popen(
                [*entered, sys.executable, "-m", module, *words],
                env=dict(env), stdin=subprocess.DEVNULL, stdout=out, stderr=out,
            )  # fmt: skip
    return _Forked(module, words, dict(env), log, netns)


class _Forked:
    def __init__(self, module: str, words: Sequence[str], env: dict[str, str], log: Path, netns: str | None) -> None:
        self._process = ForkServerProcess(
            target=_live, args=(module, words, env, str(log), netns, os.getcwd()), daemon=True
        )
        with _turn:
            self._process.start()

    @property
    def pid(self) -> int:
        pid = self._process.pid
        assert pid is not None
        return pid

    @property
    def returncode(self) -> int | None:
        return self.poll()

    def poll(self) -> int | None:
        with _turn:
            return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        wait([self._process.sentinel], timeout)
        code = self.poll()
        if code is None:
            raise subprocess.TimeoutExpired(self._process.name, timeout or 0.0)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            # Who has just ended is reaped at once, before we know of it.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _live(module: str, words: Sequence[str], env: dict[str, str], log: str, netns: str | None, folder: str) -> NoReturn:
    """The life of a process that was forked."""
    assert "app.roles" in sys.modules, "nothing was loaded before: start pytest in the root of the sources"
    for fd, path, flags in ((0, os.devnull, os.O_RDONLY), (1, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)):
        opened = os.open(path, flags, 0o644)
        os.dup2(opened, fd)
        os.close(opened)
    os.dup2(1, 2)
    os.chdir(folder)
    if netns is not None:
        opened = os.open(netns, os.O_RDONLY)
        libc: Any = ctypes.CDLL(None, use_errno=True)
        if libc.setns(opened, _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"cannot enter {netns}")
        os.close(opened)
    os.execve = _exec  # type: ignore[assignment]
    _become(module, words, env)


def _become(module: str, words: Sequence[str], env: Mapping[str, str]) -> NoReturn:
    assert module in {SERVE, CLI}
    from app.settings import get_settings

    os.environ.clear()
    os.environ.update(env)
    get_settings.cache_clear()  # those of the program that it was before, where it is the second one
    sys.argv = [module, *words]
    if module == SERVE:
        from app import serve

        sys.exit(serve.main())
    from app import cli

    sys.exit(cli.main())


def _exec(_path: str, argv: Sequence[str], env: Mapping[str, str]) -> NoReturn:
    """In the place of an exec of a program of the product: the same process becomes it, and loads nothing."""
    at = list(argv).index("-m")
    _become(argv[at + 1], argv[at + 2 :], env)
