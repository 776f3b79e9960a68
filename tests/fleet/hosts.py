"""Control planes and joined agents as processes, on one database."""

from __future__ import annotations

import asyncio
import base64
import os
import shutil
import signal
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

from app.fleet.authority import open_authority
from app.fleet.tokens import secret_hash
from app.secretbox import SecretBox
from orchestrator.store import accounts, fleet
from orchestrator.store.db import Database
from tests.harness.launch import CLI, Program, launch
from tests.harness.server import ROOT, TutelaProcess, wait_for
from tests.streams.client import rest, stream

SECRET = base64.urlsafe_b64encode(bytes(32)).decode()


def control_plane(
    dsn: str, *, docker_host: str = "unix:///nobody", roles: str = "api,orchestrator", **env: str
) -> TutelaProcess:
    """One of several: they share the secret. `env`: more of its settings. Not started."""
    own = {"TUTELA_ROLES": roles, "TUTELA_SECRET_KEY": SECRET, **env}
    return TutelaProcess(docker_host=docker_host, dsn=dsn, env=own)


def join_token(dsn: str) -> str:
    """A token for one host."""

    async def make() -> str:
        db = await Database.open(dsn, size=1)
        try:
            secret = uuid4().hex
            async with db.transaction() as conn:
                admin = await accounts.admin(conn)
                assert admin is not None
                await fleet.add_token(conn, secret_hash(secret), admin.id, 1, 60)
            authority = await open_authority(db, SecretBox.open(Path(tempfile.gettempdir()), SECRET))
            return f"TUTELA-1-{authority.digest}-{secret}"
        finally:
            await db.close()

    with ThreadPoolExecutor(1) as beside:
        return beside.submit(asyncio.run, make()).result()


async def echoed(server: TutelaProcess, container: str, *, header: str | None = None) -> tuple[str, int]:
    """What `echo there` says in the container, and the code that its stream ends with.

    A host that takes more than 2 s to dial back counts as away, and a busy machine does: it is asked again then.
    """
    for _ in range(10):
        async with stream(server, f"/v1/container/{container}/exec/?command=echo+there", header=header) as socket:
            frames, code = await rest(socket)
        if code == 1000:
            break
    return "".join(str(each.get("output", each)) for each in frames), code


class JoinedHost:
    """A host that joins at the door of a control plane and runs its agent, in front, as a process."""

    def __init__(self, name: str, docker_host: str) -> None:
        self.name = name
        self._docker_host = docker_host
        self._folder = Path(tempfile.mkdtemp(prefix="tutela-test-host-"))
        self._process: Program | None = None

    def start(self, door: TutelaProcess, token: str, *, seen_by: TutelaProcess) -> None:
        """Join, and wait until the API shows the node as Deployed."""
        env = {**os.environ, "TUTELA_STATE_DIR": str(self._folder), "PYTHONPATH": str(ROOT)}
        env.pop("DATABASE_URL", None)
        url = f"wss://127.0.0.1:{door.agent_port}"
        words = ("agent", "join", url, token, "--name", self.name, "--docker-host", self._docker_host, "--foreground")
        self._process = launch(CLI, *words, env=env, log=self._folder / "agent.log")
        wait_for(lambda: self.state(seen_by) == "Deployed" or None, timeout=90, what=f"{self.name} to join")

    def state(self, server: TutelaProcess) -> str | None:
        """The node's state in the API."""
        assert self._process is not None
        assert self._process.poll() is None or self._process.returncode == -signal.SIGKILL, self.log()[-3000:]
        found = server.api.get("/api/v1/node/").json["objects"]
        return next((each["state"] for each in found if self.name in {each["nickname"], each["external_fqdn"]}), None)

    def kill(self) -> None:
        """kill -9 of the agent."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(timeout=30)

    def stop(self) -> None:
        """SIGTERM."""
        assert self._process is not None
        self._process.terminate()
        assert self._process.wait(timeout=30) == 0, self.log()[-3000:]

    def log(self) -> str:
        """What the agent wrote."""
        return (self._folder / "agent.log").read_text(errors="replace")

    def close(self) -> None:
        """End it and take its files away."""
        if self._process is not None and self._process.poll() is None:
            self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)
