"""What registries answer to a real engine, and what a pull makes of it (RELIABILITY F34, E20)."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from agents.runtime import docker as docker_runtime
from agents.runtime.base import RuntimeBusy, RuntimeFailed, RuntimeRefused
from agents.runtime.docker import DockerRuntime
from tests.harness.engine import PrivateEngine

pytestmark = [pytest.mark.engine, pytest.mark.timeout(120)]
STALL_SECONDS = 3.0
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


def _digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


_CONFIG = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": ["sha256:00"]}})
_LAYER = b"not what its digest says"
_MANIFEST = json.dumps(
    {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {
            "mediaType": "application/vnd.docker.container.image.v1+json",
            "size": len(_CONFIG),
            "digest": _digest(_CONFIG.encode()),
        },
        "layers": [
            {
                "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",
                "size": 1000,
                "digest": _digest(b"something else"),
            }
        ],
    }
).encode()


class Strange(BaseHTTPRequestHandler):
    """A registry that is strange by the first part of an image's name."""

    over = threading.Event()

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        kind = self.path.split("/")[2]
        match kind:
            case "":
                self.say(200, b"{}")
            case "unauthorized" | "denied" | "toomanyrequests" | "unavailable":
                status = {"unauthorized": 401, "denied": 403, "toomanyrequests": 429, "unavailable": 503}[kind]
                error = {"errors": [{"code": kind.upper(), "message": f"it is {kind}"}]}
                self.say(status, json.dumps(error).encode())
            case "wall":
                self.say(403, b"<html>not from here</html>", "text/html")
            case "broken":
                self.say(500, b"<html>a proxy broke</html>", "text/html")
            case "html":
                self.say(200, b"<html>please log in</html>", "text/html")
            case "mute":
                self.over.wait()
            case "bad" | "slow" if "/manifests/" in self.path:
                self.say(200, _MANIFEST, MANIFEST)
            case "bad" if self.path.endswith(_digest(_CONFIG.encode())):
                self.say(200, _CONFIG.encode())
            case "bad":
                self.say(200, _LAYER)
            case "slow":
                self.say(200, b"a", length=1000)
                self.over.wait()
            case _:
                self.say(404, b"{}")

    def say(self, status: int, body: bytes, kind: str = "application/json", *, length: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Docker-Distribution-API-Version", "registry/2.0")
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(length or len(body)))
        if kind == MANIFEST:
            self.send_header("Docker-Content-Digest", _digest(body))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def strange(engine: PrivateEngine) -> Iterator[str]:
    """The address of such a registry."""
    server = ThreadingHTTPServer((engine.host_address, 0), Strange)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"{engine.host_address}:{server.server_address[1]}"
    finally:
        Strange.over.set()
        server.shutdown()
        server.server_close()


ANSWERS: list[tuple[str, type[RuntimeFailed], str | None, str]] = [
    ("unauthorized", RuntimeRefused, "auth", "does not have the image or does not let us pull it"),
    ("denied", RuntimeRefused, "auth", "does not have the image or does not let us pull it"),
    ("wall", RuntimeRefused, "auth", "does not let us in"),
    ("none", RuntimeRefused, "image_missing", "the registry does not have it, or is none"),
    ("toomanyrequests", RuntimeBusy, None, "slow down"),
    ("unavailable", RuntimeBusy, None, "503"),
    ("broken", RuntimeBusy, None, "500"),
    ("html", RuntimeBusy, None, "what answers is no registry"),
    ("bad", RuntimeRefused, "refused", "other content than it names"),
    ("mute", RuntimeBusy, None, "nothing came for 3 s, its registry hangs"),
    ("slow", RuntimeBusy, None, "nothing came for 3 s, its registry hangs"),
]


@pytest.mark.parametrize(("kind", "error", "code", "words"), ANSWERS, ids=[row[0] for row in ANSWERS])
async def test_what_it_answers_is_told_and_ends_the_pull(
    engine: PrivateEngine,
    strange: str,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    error: type[RuntimeFailed],
    code: str | None,
    words: str,
) -> None:
    """Refused is not tried again by itself, busy is. Nothing goes on for longer than a pull without progress may."""
    monkeypatch.setattr(docker_runtime, "PULL_STALL_SECONDS", STALL_SECONDS)
    runtime, began = DockerRuntime(engine.base_url), time.monotonic()
    try:
        with pytest.raises(error) as found:
            await runtime.pull(f"{strange}/{kind}/app:v1")
    finally:
        await runtime.close()
    print(f"{time.monotonic() - began:.1f} s: {found.value}")
    assert getattr(found.value, "code", None) == code
    assert words in str(found.value)


async def test_a_name_that_nobody_knows(engine: PrivateEngine) -> None:
    runtime = DockerRuntime(engine.base_url)
    try:
        with pytest.raises(RuntimeBusy, match="cannot be reached"):
            await runtime.pull("registry.invalid:5000/app:v1")
    finally:
        await runtime.close()
