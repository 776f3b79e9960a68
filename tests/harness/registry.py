"""A real image registry of our own: Debian's docker-registry on the host's end of an engine's link."""

from __future__ import annotations

import contextlib
import http.client
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.harness.engine import PrivateEngine
from tests.harness.images import import_image
from tests.harness.wait import wait_for

USER, PASSWORD = "tester", "s3cret:word"
# Of that password, with bcrypt's lowest cost; htpasswd may not be installed.
_HTPASSWD = f"{USER}:$2b$05$abcdefghijklmnopqrstuu2JDQLR7mbHhdpill4/jMLDoVbsBhlUi\n"


class Registry:
    """Serves plain HTTP at `address`; engines of the harness take it as insecure.

    `auth`: it lets nobody in but USER with PASSWORD. `token_server`: it takes the tokens of that address, signed by
    the certificate in that file, instead.
    """

    def __init__(
        self, host: str, port: int = 5000, *, auth: bool = False, token_server: tuple[str, Path] | None = None
    ) -> None:
        self.address = f"{host}:{port}"
        self._auth, self._token_server = auth, token_server
        self._host, self._port = host, port
        self._dir = Path(tempfile.mkdtemp(prefix="tutela-test-registry-"))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Serve (again), with what was pushed before."""
        config = self._dir / "config.yml"
        config.write_text(
            f"version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {self._dir}/data\n"
            f"http:\n  addr: {self.address}\nlog:\n  level: error\n{self._auth_config()}"
        )
        with (self._dir / "registry.log").open("ab") as log:
            self._process = subprocess.Popen(
                ["docker-registry", "serve", str(config)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        wait_for(self._answers, timeout=30, what="the registry to answer")

    def _auth_config(self) -> str:
        if self._token_server is not None:
            realm, bundle = self._token_server
            return (
                f"auth:\n  token:\n    realm: {realm}\n    service: tests\n    issuer: tests\n"
                f"    rootcertbundle: {bundle}\n"
            )
        if not self._auth:
            return ""
        users = self._dir / "htpasswd"
        users.write_text(_HTPASSWD)
        return f"auth:\n  htpasswd:\n    realm: tests\n    path: {users}\n"

    def _answers(self) -> bool | None:
        # Else another one would answer that was left behind at this address.
        assert self._process is not None
        assert self._process.poll() is None, (self._dir / "registry.log").read_text()[-2000:]
        connection = http.client.HTTPConnection(self._host, self._port, timeout=2)
        try:
            connection.request("GET", "/v2/")
            return connection.getresponse().status in {200, 401} or None
        except OSError:
            return None
        finally:
            connection.close()

    def stop(self) -> None:
        """End it; what was pushed stays for the next start."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(timeout=30)

    def close(self) -> None:
        """End it and take its files away."""
        self.stop()
        shutil.rmtree(self._dir, ignore_errors=True)

    def push(self, engine: PrivateEngine, name: str, *, greeting: str) -> str:
        """Push a sleeper whose GREETING tells it apart; nothing of it stays on the engine. Returns its id."""
        client, reference = engine.client(), f"{self.address}/{name}:latest"
        command = ["sh", "-c", 'trap "exit 0" TERM INT; while :; do sleep 1000 & wait $!; done']
        import_image(client, reference, command=command, changes=(f"ENV GREETING={greeting}",))
        identity: str = client.inspect_image(reference)["Id"]
        login = {"username": USER, "password": PASSWORD} if self._auth else None
        for line in client.push(f"{self.address}/{name}", tag="latest", stream=True, decode=True, auth_config=login):
            assert "error" not in line, line
        client.remove_image(reference, force=True)
        return identity


@contextlib.contextmanager
def silent_registry(host: str) -> Iterator[str]:
    """The address of one that takes connections and never answers. (That nobody has is refused by some networks.)"""
    with socket.socket() as listening:
        listening.bind((host, 0))
        listening.listen(16)
        yield f"{host}:{listening.getsockname()[1]}"
