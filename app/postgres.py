"""Runs a private Postgres below the state folder and keeps hold of it across crashes of either side.

The server outlives the control plane on purpose (a kill -9 of Tutela leaves it running; the next start adopts
it). It listens on a unix socket only, asks for a password, and never runs as root.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO
from urllib.parse import quote

from app.postgres_host import (
    PLAIN_ENV,
    Account,
    PostgresError,
    find_binaries,
    is_postmaster,
    major_version,
    server_account,
    usable_binaries,
)

__all__ = ["EmbeddedPostgres", "PostgresError", "find_binaries"]

PORT = 5432
SOCKET_PATH_LIMIT = 100
RETRY_SECONDS = 10.0
STOP_SECONDS = 60.0
SIGNS_OF_ANOTHER = ("lock file", "shared memory block", "another postmaster", "in use")
LOG_LIMIT = 10 * 1024 * 1024
SETTINGS: Mapping[str, str] = {
    "listen_addresses": "",
    "port": str(PORT),
    "unix_socket_permissions": "0700",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "shared_buffers": "32MB",
    "max_connections": "60",
    "min_wal_size": "32MB",
    "max_wal_size": "256MB",
    "max_logical_replication_workers": "0",
    "jit": "off",
    "huge_pages": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    "log_line_prefix": "%m [%p] ",
}


class EmbeddedPostgres:
    """One private server in `state_dir`. Methods block; call them from a thread under asyncio."""

    def __init__(self, state_dir: Path, *, options: Mapping[str, str] | None = None) -> None:
        self.state_dir = Path(os.path.abspath(state_dir))
        self.options = dict(options or {})
        self.home = self.state_dir / "postgres"
        self.data = self.home / "data"
        self.log_path = self.state_dir / "postgres.log"
        self.password_path = self.state_dir / "postgres-password"
        self._child: subprocess.Popen[bytes] | None = None
        self._cancelled = threading.Event()

    def start(self) -> str:
        """Adopt the running server or start one; wait until it takes connections, also through recovery.

        Returns a DSN for asyncpg and libpq. Raises PostgresError with one sentence.
        """
        self._cancelled.clear()
        self._check_socket_path()
        account = server_account(self.data)
        self._make_folders(account)
        with self._start_lock():
            if self.running() and self._wait_ready():
                return self.dsn()
            found = find_binaries()
            self._check_version(found)
            binaries = usable_binaries(found, account, self.state_dir)
            if not self.data.is_dir():
                self._initialise(binaries, account)
            self._launch(binaries, account)
        return self.dsn()

    def stop(self) -> None:
        """Stop the server of this data folder if it runs, and wait. No other process is signalled."""
        self._cancelled.set()
        pid = self._pid() or (self._child.pid if self._child is not None else None)
        if pid is None:
            return
        for number, patience in ((signal.SIGINT, STOP_SECONDS), (signal.SIGQUIT, RETRY_SECONDS)):
            self._signal(pid, number)
            deadline = time.monotonic() + patience
            while self._alive(pid):
                if time.monotonic() > deadline:
                    break
                time.sleep(0.01)
            else:
                return
        raise PostgresError(f"Postgres (pid {pid}) does not stop; see {self.log_path}")

    def running(self) -> bool:
        """True while the postmaster of this data folder lives (it may still be in recovery)."""
        return self._pid() is not None

    def dsn(self) -> str:
        """The DSN of the server, running or not. Raises PostgresError before the first start."""
        try:
            password = self.password_path.read_text(encoding="ascii").strip()
        except FileNotFoundError:
            raise PostgresError(f"there is no database in {self.state_dir} yet") from None
        return f"postgresql://tutela:{password}@/tutela?host={quote(str(self.home))}&port={PORT}"

    # Files

    def _check_socket_path(self) -> None:
        path = self.home / f".s.PGSQL.{PORT}"
        if len(os.fsencode(path)) >= SOCKET_PATH_LIMIT:
            raise PostgresError(f"the path {self.state_dir} is too long for a unix socket; set TUTELA_STATE_DIR")

    def _make_folders(self, account: Account | None) -> None:
        """The state folder belongs to us; the server's account may pass through it and owns only its own."""
        self.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.home.mkdir(exist_ok=True, mode=0o700)
        if account is None:
            self.state_dir.chmod(0o700)
        else:
            os.chown(self.state_dir, 0, account.gid)
            self.state_dir.chmod(0o710)
            os.chown(self.home, account.uid, account.gid)
        self.home.chmod(0o700)

    @contextlib.contextmanager
    def _start_lock(self) -> Iterator[None]:
        """Two starters at once: the second waits and then adopts."""
        fd = os.open(self.state_dir / "postgres.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            while True:
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    self._pause(0.05)
            yield
        finally:
            os.close(fd)

    def _check_version(self, binaries: Path) -> None:
        try:
            have = (self.data / "PG_VERSION").read_text(encoding="ascii").strip()
        except FileNotFoundError:
            return
        offered = major_version(binaries)
        if have != str(offered):
            raise PostgresError(
                f"the database was made by Postgres {have} but Postgres {offered} is installed: "
                "with the old version (TUTELA_POSTGRES_BIN) `./tutela backup FILE`, move the folder postgres away, "
                "then with the new one `./tutela restore FILE`"
            )

    def _initialise(self, binaries: Path, account: Account | None) -> None:
        """Make the cluster beside its final place and move it in when complete: no half database."""
        fresh = self.home / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        admin, password = secrets.token_hex(32), secrets.token_hex(32)
        handover = self.home / "initdb.password"
        _write_private(handover, admin)
        try:
            if account is not None:
                os.chown(handover, account.uid, account.gid)
            argv = [str(binaries / "initdb"), "-D", str(fresh), "-U", "postgres", "-A", "scram-sha-256"]
            argv += [f"--pwfile={handover}", "-E", "UTF8", "--locale=C", "-k"]
            self._run(argv, account)
        finally:
            handover.unlink(missing_ok=True)
        # Single-user mode reads one statement per line from stdin, so the password is in no argument list.
        statements = (
            f"create role tutela login createdb nosuperuser password '{password}'\n"
            "create database tutela owner tutela\n"
        )
        single = [str(binaries / "postgres"), "--single", "-D", str(fresh), "-c", "log_min_messages=fatal"]
        self._run([*single, "postgres"], account, statements)
        _write_private(self.state_dir / "postgres-admin-password", admin)
        _write_private(self.password_path, password)
        fresh.rename(self.data)

    def _run(self, argv: list[str], account: Account | None, text: str = "") -> None:
        with self._log() as log:
            start = log.tell()
            process = self._popen(argv, account, log, stdin=subprocess.PIPE)
            process.communicate(text.encode())
        if process.returncode != 0:
            raise PostgresError(f"{Path(argv[0]).name} failed: {self._log_tail(start)}")

    # The process

    def _launch(self, binaries: Path, account: Account | None) -> None:
        """Start until it answers. Just after a kill -9 the old server still holds its locks for a moment."""
        settings = {**SETTINGS, "unix_socket_directories": str(self.home), **self.options}
        argv = [str(binaries / "postgres"), "-D", str(self.data)]
        for name, value in settings.items():
            argv += ["-c", f"{name}={value}"]
        deadline = time.monotonic() + RETRY_SECONDS
        while True:
            with self._log() as log:
                start = log.tell()
                self._child = self._popen(argv, account, log, stdin=subprocess.DEVNULL)
            # Reaps the child whoever stops it: a zombie's pid would keep the lock files alive.
            threading.Thread(target=self._child.wait, name="postgres", daemon=True).start()
            if self._wait_ready():
                return
            reason = self._log_tail(start)
            if time.monotonic() > deadline or not any(sign in reason for sign in SIGNS_OF_ANOTHER):
                raise PostgresError(f"Postgres does not start: {reason}")
            self._drop_stale_locks()
            self._pause(0.1)

    def _popen(
        self, argv: list[str], account: Account | None, log: IO[bytes], *, stdin: int
    ) -> subprocess.Popen[bytes]:
        # A clean environment: no PG* or loader variable of the caller reaches the server.
        try:
            return subprocess.Popen(
                argv,
                stdin=stdin,
                stdout=log,
                stderr=log,
                cwd=self.home if account is None else "/",
                env=PLAIN_ENV,
                start_new_session=True,
                umask=0o077,
                user=account.uid if account else None,
                group=account.gid if account else None,
                extra_groups=[] if account else None,
            )
        except OSError as error:
            raise PostgresError(f"cannot run {argv[0]}: {error.strerror}") from error

    def _wait_ready(self) -> bool:
        """True once connections are taken; False when the server died. No deadline while it lives."""
        pause = 0.005
        while not self._answers():
            child_lives = self._child is not None and self._child.poll() is None
            if not child_lives and not self.running():
                return False
            self._pause(pause)
            pause = min(pause * 1.5, 0.25)
        return True

    def _answers(self) -> bool:
        """True when the server answers a start-up packet by asking for authentication."""
        if not self.running():
            return False
        body = struct.pack("!i", 196608) + b"user\0tutela\0database\0tutela\0application_name\0probe\0\0"
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as client:
            client.settimeout(2)
            try:
                client.connect(str(self.home / f".s.PGSQL.{PORT}"))
                client.sendall(struct.pack("!i", len(body) + 4) + body)
                return client.recv(256)[:1] == b"R"
            except OSError:
                return False

    def _pid(self) -> int | None:
        """The pid of our postmaster, or None. A pid reused by something else is not ours."""
        if self._child is not None and self._child.poll() is not None:
            self._child = None
        pid = self._noted_pid(self.data / "postmaster.pid")
        return pid if pid is not None and is_postmaster(pid, self.data) else None

    @staticmethod
    def _noted_pid(path: Path) -> int | None:
        try:
            return abs(int(path.read_text(encoding="utf-8").split("\n", 1)[0])) or None
        except (OSError, ValueError):
            return None

    def _alive(self, pid: int) -> bool:
        if self._child is not None and self._child.pid == pid:
            return self._child.poll() is None
        return bool(is_postmaster(pid, self.data))

    def _signal(self, pid: int, number: signal.Signals) -> None:
        """Signal the postmaster; with a pidfd the pid cannot be reused between the check and the signal."""
        with contextlib.suppress(ProcessLookupError):
            if not hasattr(os, "pidfd_open"):
                os.kill(pid, number)
                return
            fd = os.pidfd_open(pid)
            try:
                if self._alive(pid):
                    signal.pidfd_send_signal(fd, number)
            finally:
                os.close(fd)

    def _drop_stale_locks(self) -> None:
        """After a refused start, remove lock files whose pid now belongs to a zombie or to something else.

        Postgres believes any live pid of its own user. A postmaster's lock, or one we cannot judge, stays.
        """
        for path in (self.data / "postmaster.pid", self.home / f".s.PGSQL.{PORT}.lock"):
            pid = self._noted_pid(path)
            if pid is not None and is_postmaster(pid, self.data) is False:
                path.unlink(missing_ok=True)

    def _pause(self, seconds: float) -> None:
        if self._cancelled.wait(seconds):
            raise PostgresError("stopped while Postgres was starting")

    # The log

    def _log(self) -> IO[bytes]:
        if self.log_path.exists() and self.log_path.stat().st_size > LOG_LIMIT:
            self.log_path.replace(self.log_path.with_suffix(".log.1"))
        fd = os.open(self.log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        log = os.fdopen(fd, "ab", buffering=0)
        log.seek(0, os.SEEK_END)
        return log

    def _log_tail(self, start: int) -> str:
        with contextlib.suppress(OSError), self.log_path.open("rb") as log:
            log.seek(start)
            lines = log.read().decode("utf-8", "replace").strip().splitlines()
            return " | ".join(lines[-3:]) or f"see {self.log_path}"
        return f"see {self.log_path}"


def _write_private(path: Path, text: str) -> None:
    """Write a secret so that nobody else can read it at any moment, and durably."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "w", encoding="ascii") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
