"""What the engine's words mean (E11, E12, E13, E14, E17, E20), its times, its logs, and what it is asked for."""

from __future__ import annotations

import struct
from datetime import UTC, datetime

import pytest

from agents.observe import engine_time
from agents.runtime import frames
from agents.runtime.base import RuntimeBusy, RuntimeRefused
from agents.runtime.create_args import create_body
from agents.runtime.errors import classify
from domain.container import BoundPort
from domain.spec import CrashPolicy, Transport
from tests.agents.build import CLUSTER, assigned, attachment, spec

REFUSALS = [
    (404, "No such container: 4f", "not_found"),
    (404, "No such image: sha256:00", "image_missing"),
    (404, "network 5d not found", "network_missing"),
    (404, "pull access denied for x, repository does not exist or may require 'docker login'", "auth"),
    (500, "manifest for localhost:5000/x:1 not found: manifest unknown: manifest unknown", "image_missing"),
    (500, "Get http://r/v2/: no basic auth credentials", "auth"),
    (500, "Get https://r/v2/x/manifests/1: unauthorized: incorrect username or password", "auth"),
    (500, "driver failed programming external connectivity: Bind for 0.0.0.0:80 failed: port is already allocated",
     "port_taken"),
    (500, "write /data/x: no space left on device", "disk_full"),
    (409, 'Conflict. The container name "/a" is already in use by container "4f"', "name_taken"),
    (409, "Conflict. cannot do that now", "conflict"),
    (500, "task 4f0d: already exists", "half_started"),
    (400, "invalid reference format", "bad_reference"),
    (400, "Minimum memory limit allowed is 6MB", "bad_request"),
    (400, 'OCI runtime create failed: exec: "nope": executable file not found in $PATH: unknown', "bad_command"),
    (400, 'invalid mount config for type "bind": bind source path does not exist: /srv/x', "path_missing"),
    (403, "Pool overlaps with other one on this address space", "subnet_taken"),
    (0, "manifest unknown", "image_missing"),
    (0, "filesystem layer verification failed", "refused"),
    (500, "error parsing HTTP 403 response body: invalid character '<' looking for beginning of value", "auth"),
    (500, "error parsing HTTP 404 response body: no error details found in HTTP response body", "image_missing"),
    (500, "error parsing HTTP 451 response body: invalid character 'n'", "refused"),
]  # fmt: skip
BUSY = [
    (409, "removal of container 4f is already in progress"),
    (409, "container is marked for removal and cannot be started"),
    (500, "driver overlay2 failed to remove root filesystem: unlinkat: operation not permitted"),
    (403, "error while removing network: network x has active endpoints"),
    (403, "endpoint with name web-1.00000001 already exists in network net-web"),
    (500, "connection error: dial unix /run/containerd.sock: connect: connection refused: unavailable"),
    (500, "Get https://registry.test/v2/: dial tcp: lookup registry.test: no such host"),
    (500, "error parsing HTTP 429 response body: invalid character '<'"),
    (500, "toomanyrequests: you have reached your pull rate limit"),
    (500, "something new"),
]


@pytest.mark.parametrize(("status", "text", "code"), REFUSALS)
def test_refusals(status: int, text: str, code: str) -> None:
    error = classify(status, text, "testing")
    assert isinstance(error, RuntimeRefused)
    assert error.code == code


@pytest.mark.parametrize(("status", "text"), BUSY)
def test_trouble_is_tried_again(status: int, text: str) -> None:
    assert isinstance(classify(status, text, "testing"), RuntimeBusy)


def test_times() -> None:
    assert engine_time("2026-01-02T03:04:05.123456789Z") == datetime(2026, 1, 2, 3, 4, 5, 123456, tzinfo=UTC)
    assert engine_time("2026-01-02T03:04:05.1Z") == datetime(2026, 1, 2, 3, 4, 5, 100000, tzinfo=UTC)
    assert engine_time("2026-01-02T04:04:05+01:00") == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert engine_time("0001-01-01T00:00:00Z") is None
    assert engine_time("") is None


def test_log_frames() -> None:
    def frame(kind: int, text: bytes) -> bytes:
        return struct.pack(">BxxxL", kind, len(text)) + text

    body = frame(1, b"T1 on") + frame(2, b"T2 bad\n") + frame(1, b"e\nT3 two\n")
    got = [(line.stream, line.timestamp, line.text) for line in frames.lines(body, tty=False)]
    assert got == [("stderr", "T2", "bad"), ("stdout", "T1", "one"), ("stdout", "T3", "two")]
    assert [line.text for line in frames.lines(b"T1 a\r\nT2 b\r\n", tty=True)] == ["a", "b"]


def test_the_create_call() -> None:
    made = spec(
        ports=(
            BoundPort(protocol=Transport.TCP, inner_port=80, outer_port=8080),
            BoundPort(protocol=Transport.UDP, inner_port=53),
        ),
        image_env=(("FROM", "image"),),
        link_env=(("A", "link"),),
        self_env=(("A", "self"),),
        user_env=(("A", "user"),),
        memory=64,
        command=("run", "it"),
    )
    one = assigned(1, spec=made, autorestart=CrashPolicy.ON_FAILURE, networks=(attachment("net-a", "web-1"),))
    body = create_body(CLUSTER, one)
    host = body["HostConfig"]
    assert body["Env"] == ["A=user"]
    assert body["ExposedPorts"] == {"80/tcp": {}, "53/udp": {}}
    assert host["PortBindings"] == {"80/tcp": [{"HostIp": "", "HostPort": "8080"}]}
    assert host["RestartPolicy"] == {"Name": "on-failure"}
    assert host["Memory"] == 64 * 1024 * 1024
    assert body["Image"] == made.image_id
    assert "Entrypoint" not in body
    assert body["Cmd"] == ["run", "it"]
    assert list(body["NetworkingConfig"]["EndpointsConfig"]) == ["net-a"]
    assert body["Labels"]["tutela.container"] == str(one.container_id)
    assert create_body(CLUSTER, assigned(2, spec=spec(privileged=True)))["HostConfig"].get("SecurityOpt") is None


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
def test_log_pieces_are_put_together_wherever_they_are_cut(size: int) -> None:
    def frame(kind: int, text: bytes) -> bytes:
        return struct.pack(">BxxxL", kind, len(text)) + text

    stamp = b"2026-01-02T03:04:05.123456789Z "
    content = frame(1, stamp + b"long ") + frame(2, stamp + b"bad\n") + frame(1, stamp + b"line\n") + frame(1, b"T end")
    body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (content[:20], content[20:])) + b"0\r\n\r\n"
    chunks, reading, got = frames.Chunks(), frames.Lines(tty=False), []
    for at in range(0, len(body), size):
        assert not chunks.ended or at >= len(body) - 2
        got += reading.feed(chunks.feed(body[at : at + size]))
    assert chunks.ended
    assert [line.text for line in got] == ["bad", "long line"]
    assert [line.text for line in reading.end()] == ["end"]


def test_a_line_without_end_is_told_in_parts() -> None:
    reading = frames.Lines(tty=False)
    part = b"T " + b"x" * 16_384
    got = [line for _ in range(20) for line in reading.feed(struct.pack(">BxxxL", 1, len(part)) + part)]
    assert 3 <= len(got) <= 5
    assert all(len(line.text) < 100_000 for line in got)
    assert len(frames.Lines(tty=True).feed(b"T " + b"x" * 70_000)) == 1
