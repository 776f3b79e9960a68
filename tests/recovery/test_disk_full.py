"""The control plane's file system is full: it answers 503, loses nothing, and goes on with the space (F27, F38)."""

from __future__ import annotations

import base64
import os
import subprocess
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.harness.disk import fill
from tests.harness.server import Response, TutelaProcess
from tests.harness.wait import wait_for

pytestmark = pytest.mark.timeout(300)
SIZE_MB = 400


@pytest.fixture
def server() -> Iterator[TutelaProcess]:
    """With the embedded Postgres, on a file system of its own. Root's alone may be mounted."""
    made = TutelaProcess(
        docker_host="", dsn="", env={"TUTELA_ROLES": "api,orchestrator", "TUTELA_LIMIT_CREATES": "10000"}
    )
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m", "tmpfs", str(made.state_dir)], check=True)
        made.state_dir.chmod(0o700)
        made.start()
        yield made
    finally:
        made.stop()  # its Postgres with it, which a kill would leave running
        subprocess.run(["umount", "-l", str(made.state_dir)], check=False)
        made.close()


def create(server: TutelaProcess, name: str) -> Response:
    """A service whose definition cannot be compressed."""
    noise = [base64.b64encode(os.urandom(90_000)).decode() for _ in range(3)]
    variables = [{"key": f"NOISE_{n}", "value": value} for n, value in enumerate(noise)]
    body = {"image": "a", "name": name, "container_envvars": variables}
    return server.api.post("/api/v1/service/", json=body)


@pytest.mark.parametrize("left", [0, 15], ids=["no room for rows", "none for the log of changes: Postgres panics"])
def test_it_says_so_and_goes_on_when_there_is_space(server: TutelaProcess, left: int) -> None:
    codes = Counter[int]()
    made = [create(server, "first").json["uuid"]]
    filler = fill(server.state_dir, left=left)
    while codes[503] < 20 and codes[201] < 90:
        answer = create(server, f"s{sum(codes.values())}")
        codes[answer.status] += 1
        if answer.status == 201:
            made.append(answer.json["uuid"])
    assert codes[503] >= 20
    assert codes.keys() <= {201, 503}
    if left:
        assert codes[201]
        wait_for(lambda: "postgres did not start" in server.log(), timeout=60, what="Postgres not to start")
    assert server.api.get("/healthz", auth=False).status == 200, "the process is there, and was there all the time"
    filler.unlink()
    began = time.monotonic()
    wait_for(lambda: create(server, "after").status == 201 or None, timeout=60, what="a create to be accepted")
    print(f"accepted {time.monotonic() - began:.1f} s after there was space")
    found = {each["uuid"] for each in server.api.get("/api/v1/service/?limit=100").json["objects"]}
    assert set(made) <= found
    assert server.log().count("agents are served") == 1
