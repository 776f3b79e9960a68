"""A udp port on a real engine: published under a dynamic number, answered from outside, and told by links."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.e2e.scenario import SLEEPER, User, owned, wait_for
from tests.harness.engine import PrivateEngine
from tests.harness.server import TutelaProcess

pytestmark = pytest.mark.e2e

ANSWERS = """
import socket
end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
end.bind(("0.0.0.0", 5353))
while True:
    text, peer = end.recvfrom(512)
    end.sendto(b"you said " + text, peer)
"""


@contextmanager
def answering(engine: PrivateEngine, engine_id: str) -> Iterator[None]:
    """A udp server on the container's network; the static busybox has none."""
    pid = str(engine.pid_of(engine_id))
    process = subprocess.Popen(["nsenter", "--target", pid, "--net", sys.executable, "-c", ANSWERS])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def said(address: str, port: int) -> bytes | None:
    """The answer to a datagram; None when there is none yet."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        end.settimeout(0.5)
        end.connect((address, port))
        try:
            end.send(b"hello")
            return end.recv(512)
        except OSError:
            return None


def test_a_published_udp_port_is_answered_from_outside_and_told_by_links(
    server: TutelaProcess, engine: PrivateEngine
) -> None:
    user = User(server)
    ports = [
        {"protocol": "udp", "inner_port": 5353, "published": True},
        {"protocol": "tcp", "inner_port": 5353},
    ]
    dns = user.run("dns", image=SLEEPER, container_ports=ports)
    (container,) = user.containers(dns)
    published = {each["protocol"]: each["outer_port"] for each in container["container_ports"]}
    assert published["tcp"] is None
    outer = published["udp"]
    assert 32768 <= outer <= 60999
    (entry,) = owned(engine, running=True)
    with answering(engine, entry["Id"]):
        answer = wait_for(lambda: said(engine.address, outer), timeout=30, what="an answer")
    assert answer == b"you said hello"
    user.run("client", linked_to_service=[{"to_service": f"/api/v1/service/{dns}/", "name": "ns"}])
    (client,) = [each for each in owned(engine, running=True) if each["Id"] != entry["Id"]]
    environment = engine.client().inspect_container(client["Id"])["Config"]["Env"]
    variables = dict(line.partition("=")[::2] for line in environment)
    for prefix in ("NS", "NS_1"):
        assert variables[f"{prefix}_PORT_5353_UDP"] == "udp://dns-1:5353"
        assert variables[f"{prefix}_PORT_5353_UDP_ADDR"] == "dns-1"
        assert variables[f"{prefix}_PORT_5353_UDP_PORT"] == "5353"
        assert variables[f"{prefix}_PORT_5353_UDP_PROTO"] == "udp"
        assert variables[f"{prefix}_PORT_5353_TCP"] == "tcp://dns-1:5353"
        assert variables[f"{prefix}_PORT"] == "tcp://dns-1:5353"
