"""A way to Postgres that can be stopped or cut at one transaction's commit, before it or after it."""

from __future__ import annotations

import contextlib
import socket
import threading
from enum import Enum
from urllib.parse import parse_qs, urlsplit

from tests.harness.wait import wait_for

BEGIN, COMMIT = b"BEGIN;\x00", b"COMMIT;\x00"
"""As asyncpg says them."""


class Moment(Enum):
    """BEFORE: the commit does not reach the server. AFTER: it is done, and its answer does not reach the client."""

    BEFORE = "before"
    AFTER = "after"


class CommitProxy:
    """Listens on loopback before the Postgres of this DSN. `dsn` is the one to use instead."""

    def __init__(self, dsn: str) -> None:
        parts = urlsplit(dsn)
        query = parse_qs(parts.query)
        self._path = f"{query['host'][0]}/.s.PGSQL.{query['port'][0]}"
        self._listener = socket.create_server(("127.0.0.1", 0))
        address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.dsn = f"postgresql://{parts.username}:{parts.password}@{address}{parts.path}?sslmode=disable"
        self._armed: tuple[bytes, Moment, bool] | None = None
        self._reached, self._release = threading.Event(), threading.Event()
        threading.Thread(target=self._accept, name="proxy", daemon=True).start()

    def arm(self, mark: bytes, moment: Moment, *, cut: bool) -> None:
        """At the commit of the next transaction that sends `mark`: cut its connection, or hold it until `release`."""
        self._reached.clear()
        self._armed = (mark, moment, cut)

    def reached(self) -> None:
        """Wait until that commit has come; AFTER: until the server has answered it."""
        wait_for(self._reached.is_set, timeout=30, what="the commit")

    def release(self) -> None:
        """Cut what is held; from now on nothing is held."""
        self._release.set()

    def close(self) -> None:
        """Take no more connections."""
        self.release()
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(self._path)
                threading.Thread(target=self._forth, args=(client, server), daemon=True).start()

    def _forth(self, client: socket.socket, server: socket.socket) -> None:
        """From the client to the server, with a thread for the way back."""
        cut = threading.Event()
        threading.Thread(target=_back, args=(server, client, cut), daemon=True).start()
        marked = False
        with contextlib.suppress(OSError), client, server:
            while data := client.recv(65536):
                armed = self._armed
                marked = armed is not None and (armed[0] in data or (marked and BEGIN not in data))
                if armed is None or not marked or COMMIT not in data:
                    server.sendall(data)
                    continue
                self._armed = None
                cut.set()  # no answer goes back from here on
                if armed[1] is Moment.AFTER:
                    server.sendall(data)
                    wait_for(lambda: _answered(server), timeout=30, what="the server's answer")
                self._reached.set()
                if not armed[2]:
                    self._release.wait()
                for each in (client, server):
                    each.shutdown(socket.SHUT_RDWR)


def _answered(server: socket.socket) -> bool:
    """Whether something is there to be read, which nobody reads any more."""
    server.setblocking(False)
    try:
        return bool(server.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return False
    finally:
        server.setblocking(True)


def _back(server: socket.socket, client: socket.socket, cut: threading.Event) -> None:
    """From the server to the client, as long as that is not cut."""
    with contextlib.suppress(OSError):
        while not cut.is_set():
            if not server.recv(1, socket.MSG_PEEK) or cut.is_set():
                break
            client.sendall(server.recv(65536))
    if not cut.is_set():
        with contextlib.suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)
