"""Runs the original clients as a user does: a process of Python 2.7 with a home and an environment of its own."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.harness.python27 import Client
from tests.harness.server import wait_for

UUID4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
RUNNING, STILL, BUSY, GONE = "▶ ", "◼ ", "⚙ ", "✘ "
"""What the clients put before a state that they know."""


@dataclass(frozen=True)
class Result:
    """How a command ended."""

    command: tuple[str, ...]
    code: int
    out: str
    err: str

    def __str__(self) -> str:
        return f"tutum {' '.join(self.command)}\nexit code {self.code}\n--- stdout\n{self.out}--- stderr\n{self.err}"


@dataclass
class Running:
    """A command that does not end by itself; both outputs grow in `text`."""

    process: subprocess.Popen[bytes]
    keyboard: int | None = None
    pieces: list[bytes] = field(default_factory=list)

    @property
    def text(self) -> str:
        return b"".join(self.pieces).decode()

    def sees(self, wanted: str, timeout: float = 20) -> str:
        """Wait until the text is there; returns everything so far."""

        def look() -> bool:
            ended = self.process.poll() is not None
            assert wanted in self.text or not ended, f"it ended with {self.process.returncode}:\n{self.text}"
            return wanted in self.text

        wait_for(look, timeout=timeout, what=f"{wanted!r} in the output")
        return self.text

    def types(self, keys: str) -> None:
        """Type at its terminal as a human does, seeing each key come back: the client loses what is typed ahead."""
        assert self.keyboard is not None
        for key in keys:
            before = len(self.text)
            os.write(self.keyboard, key.encode())
            # The key itself: the shell says more, such as a question where its cursor is, and may say it just now.
            wait_for(lambda: key in self.text[before:], timeout=30, what=f"an echo of {key!r}")  # noqa: B023

    def ends(self, timeout: float = 20) -> int:
        """Wait until it ends by itself; returns its exit code."""
        return self.process.wait(timeout=timeout)


class Cli:
    """The `tutum` command of one client's set, for one user of one server."""

    def __init__(self, client: Client, port: int, user: str, key: str) -> None:
        self._client = client
        self.port, self.user, self.key = port, user, key
        self.home = Path(tempfile.mkdtemp(prefix="tutela-test-client-"))

    def environment(self, more: Mapping[str, str | None] | None = None) -> dict[str, str]:
        """All that the program sees; None in `more` takes a variable away."""
        host = f"127.0.0.1:{self.port}"
        variables: dict[str, str | None] = {
            "HOME": str(self.home),
            "PATH": "/usr/bin:/bin",
            "DOCKER_HOST": f"unix://{self.home}/no-engine.sock",
            "TUTUM_REST_HOST": f"http://{host}",
            "TUTUM_STREAM_HOST": f"ws://{host}",
            "TUTUM_BASE_URL": f"http://{host}/api/v1/",
            "TUTUM_USER": self.user,
            "TUTUM_APIKEY": self.key,
            **self._client.environment,
            **(more or {}),
        }
        return {name: value for name, value in variables.items() if value is not None}

    def run(
        self,
        *arguments: str,
        keys: str = "",
        timeout: float = 60,
        cwd: Path | None = None,
        env: Mapping[str, str | None] | None = None,
        terminal: bool = False,
    ) -> Result:
        """Run to the end. `keys` is what the user types; with `terminal` standard input is one."""
        return self._run(self._client.command(*arguments), arguments, keys, timeout, cwd, env, terminal)

    def python(self, script: str, timeout: float = 60, env: Mapping[str, str | None] | None = None) -> Result:
        """Run a script that uses the SDK."""
        return self._run([str(self._client.python), "-c", script], ("<script>",), "", timeout, None, env, False)

    def ok(self, *arguments: str, **options: Any) -> str:
        """Run a command that must succeed and say nothing on standard error; returns its standard output."""
        result = self.run(*arguments, **options)
        assert result.code == 0, str(result)
        assert result.err == "", str(result)
        return result.out

    def table(self, *arguments: str, **options: Any) -> list[dict[str, str]]:
        """Run a command that prints a table; a dictionary a line."""
        return read_table(self.ok(*arguments, **options))

    def refused(self, *arguments: str, **options: Any) -> str:
        """Run a command that must fail with the client's own code for errors; returns what it said."""
        result = self.run(*arguments, **options)
        assert result.code == 3, str(result)
        assert "Traceback" not in result.err, str(result)
        return result.err

    @contextlib.contextmanager
    def running(self, *arguments: str, terminal: bool = False) -> Iterator[Running]:
        """Run a command in the background and end it afterwards. With `terminal` standard input is one."""
        keyboard, stdin = pty.openpty() if terminal else (None, subprocess.DEVNULL)
        process = subprocess.Popen(
            self._client.command(*arguments),
            env={**self.environment(), "PYTHONUNBUFFERED": "1"},
            cwd=self.home, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        command = Running(process, keyboard)
        assert process.stdout is not None
        descriptor = process.stdout.fileno()

        def read() -> None:
            while data := os.read(descriptor, 65536):
                command.pieces.append(data)

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        try:
            yield command
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(timeout=3)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(timeout=10)
            reader.join(timeout=10)
            process.stdout.close()
            if keyboard is not None:
                os.close(keyboard)
                os.close(stdin)

    def _run(
        self,
        command: list[str],
        arguments: tuple[str, ...],
        keys: str,
        timeout: float,
        cwd: Path | None,
        env: Mapping[str, str | None] | None,
        terminal: bool,
    ) -> Result:
        options: dict[str, Any] = {"env": self.environment(env), "cwd": cwd or self.home, "start_new_session": True}
        master = None
        if terminal:
            master, slave = pty.openpty()
            options["stdin"] = slave
        else:
            slave, options["stdin"] = None, subprocess.PIPE
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
        try:
            if master is not None:
                os.write(master, keys.encode())
            out, err = process.communicate(None if terminal else keys.encode(), timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            late = Result(arguments, -9, out.decode(), err.decode())
            raise AssertionError(f"did not end in {timeout} s: {late}") from None
        finally:
            for descriptor in (master, slave):
                if descriptor is not None:
                    os.close(descriptor)
        return Result(arguments, process.returncode, out.decode(), err.decode())


def read_table(text: str) -> list[dict[str, str]]:
    """The lines below the headers of a table in `tabulate`'s plain format. A line without any text is left out, and so
    is the remark below a table with a service that is not synchronized."""
    lines = text.partition("\n\n(*)")[0].splitlines()
    width = max((len(line) for line in lines), default=0)
    padded = [line.ljust(width) for line in lines]
    gaps = [all(line[at] == " " for line in padded) for at in range(width)] + [True, True]
    spans, start = [], None
    for at, gap in enumerate(gaps):
        if start is None and not gap:
            start = at
        elif start is not None and gap and gaps[min(at + 1, len(gaps) - 1)]:
            spans.append((start, at))
            start = None
    headers = [padded[0][a:b].strip() for a, b in spans] if padded else []
    rows = [[line[a:b].strip() for a, b in spans] for line in padded[1:]]
    return [dict(zip(headers, row, strict=True)) for row in rows if any(row)]


def only(rows: list[dict[str, str]], **wanted: str) -> dict[str, str]:
    """The one line with these values."""
    found = [row for row in rows if all(row[name] == value for name, value in wanted.items())]
    assert len(found) == 1, (wanted, rows)
    return found[0]


def uuid_of(text: str) -> str:
    """The one uuid that a command printed."""
    found = set(UUID4.findall(text))
    assert len(found) == 1, text
    return str(found.pop())
