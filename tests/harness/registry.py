"""A real image registry of our own: Debian's docker-registry on the host's end of an engine's link."""

from __future__ import annotations

import http.client
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.harness.engine import PrivateEngine
from tests.harness.images import import_image
from tests.harness.wait import wait_for


class Registry:
    """Serves plain HTTP at `address`; engines of the harness take it as insecure."""

    def __init__(self, host: str, port: int = 5000) -> None:
        self.address = f"{host}:{port}"
        self._host, self._port = host, port
        self._dir = Path(tempfile.mkdtemp(prefix="tutela-test-registry-"))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Serve (again), with what was pushed before."""
        config = self._dir / "config.yml"
        config.write_text(
            f"version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {self._dir}/data\n"
            f"http:\n  addr: {self.address}\nlog:\n  level: error\n"
        )
        with (self._dir / "registry.log").open("ab") as log:
            self._process = subprocess.Popen(
                ["docker-registry", "serve", str(config)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        wait_for(self._answers, timeout=10, what="the registry to answer")

    def _answers(self) -> bool | None:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=2)
        try:
            connection.request("GET", "/v2/")
            return connection.getresponse().status == 200 or None
        except OSError:
            return None
        finally:
            connection.close()

    def stop(self) -> None:
        """End it; what was pushed stays for the next start."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(timeout=10)

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
        for line in client.push(f"{self.address}/{name}", tag="latest", stream=True, decode=True):
            assert "error" not in line, line
        client.remove_image(reference, force=True)
        return identity
