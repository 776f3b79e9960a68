"""Facts of the engine that agents rely on, asked of a real one with nothing in between (RELIABILITY section 5).

Found with engine 20.10; each failure names the version of the engine that it was seen on. docs/design/engine-facts.md
lists all facts with their tests. Run these first on an engine that is new to us.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
import requests

from tests.harness.engine import PrivateEngine
from tests.harness.images import EXITER, SLEEPER, ensure_images
from tests.harness.wait import wait_for

pytestmark = pytest.mark.engine
FOUND_ON = "20.10"
DEAF = ["sh", "-c", "trap '' TERM; while :; do sleep 1; done"]


class Raw:
    """The engine's own API: every answer with its status."""

    def __init__(self, engine: PrivateEngine) -> None:
        self.engine = engine
        self.api: Any = engine.client()
        self.version = self.api.version()["Version"]

    def ask(self, method: str, path: str, body: Any = None, timeout: float = 30) -> requests.Response:
        url = f"{self.api.base_url}/v1.41{path}"
        answer: requests.Response = self.api.request(method, url, json=body, timeout=timeout)
        return answer

    def status(self, method: str, path: str, body: Any = None) -> int:
        return self.ask(method, path, body).status_code

    def says(self, method: str, path: str, body: Any = None) -> str:
        return str(self.ask(method, path, body).json()["message"])

    def create(self, image: str = SLEEPER, name: str = "", host: dict[str, Any] | None = None, **more: Any) -> str:
        body = {"Image": image, "HostConfig": host or {}, "Labels": {"tutela.fact": "1"}, **more}
        answer = self.ask("POST", f"/containers/create?name={name or f'fact-{uuid4().hex[:8]}'}", body)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["Id"])

    def run(self, image: str = SLEEPER, host: dict[str, Any] | None = None, **more: Any) -> str:
        made = self.create(image, host=host, **more)
        assert self.status("POST", f"/containers/{made}/start") == 204
        return made

    def state(self, container: str) -> Any:
        return self.api.inspect_container(container)["State"]

    def ended(self, container: str) -> Any:
        return waited(lambda: (found := self.state(container))["Status"] == "exited" and found, what="its end")

    def fact(self, true: object, what: str) -> None:
        assert true, f"engine {self.version} (found on {FOUND_ON}): not so that {what}"


def waited(look: Callable[[], Any], what: str, every: float = 0.02) -> Any:
    return wait_for(lambda: look() or None, timeout=60, what=what, every=every)


def policy(name: str, tries: int = 0) -> dict[str, Any]:
    return {"RestartPolicy": {"Name": name, "MaximumRetryCount": tries}}


@pytest.fixture(scope="module")
def raw(engine: PrivateEngine) -> Iterator[Raw]:
    asked = Raw(engine)
    yield asked
    clean(asked)


def clean(asked: Raw) -> None:
    for each in asked.api.containers(all=True, filters={"label": "tutela.fact"}):
        asked.api.remove_container(each["Id"], force=True, v=True)


def test_e10_calls_on_what_is_not_in_the_state_for_them(raw: Raw) -> None:
    made = raw.create()
    assert raw.status("POST", f"/containers/{made}/stop") == 304
    assert raw.status("POST", f"/containers/{made}/start") == 204
    assert raw.status("POST", f"/containers/{made}/start") == 304
    raw.fact(raw.status("DELETE", f"/containers/{made}") == 409, "what runs is removed by force only")
    assert raw.status("POST", f"/containers/{made}/stop?t=2") == 204
    assert raw.status("POST", f"/containers/{made}/kill") == 409
    assert raw.status("POST", f"/containers/{made}/exec", {"Cmd": ["true"]}) == 409
    raw.fact(raw.status("POST", f"/containers/{made}/unpause") in {409, 500}, "what is stopped is not unpaused")
    assert raw.status("DELETE", f"/containers/{made}") == 204


def test_e10_a_start_while_a_stop_is_in_its_grace_is_answered_304_and_then_it_dies(raw: Raw) -> None:
    made = raw.run(Cmd=DEAF)
    stop = threading.Thread(target=raw.api.stop, args=(made,), kwargs={"timeout": 1})
    stop.start()
    answers = []
    while stop.is_alive():
        answers.append(raw.status("POST", f"/containers/{made}/start"))
    stop.join()
    raw.fact(304 in answers, "a start in the grace of a stop is answered 304")
    assert set(answers) <= {204, 304}
    if 204 not in answers:
        raw.fact(raw.state(made)["Status"] == "exited", "that start changed nothing")


@pytest.mark.parametrize(
    ("command", "status", "code"),
    [(["/no/such/program"], 400, 127), (["/etc"], 400, 126)],
)
def test_e11_a_command_that_cannot_run(raw: Raw, command: list[str], status: int, code: int) -> None:
    made = raw.create(Entrypoint=command, Cmd=[])
    answer = raw.ask("POST", f"/containers/{made}/start")
    state = raw.state(made)
    raw.fact(answer.status_code == status, f"a start of {command} is answered {status}")
    raw.fact(state["ExitCode"] == code, f"its exit code is {code}")
    raw.fact(state["Status"] == "created", "it stays created")
    assert state["Error"]


def test_e11_a_network_that_is_missing_is_a_404_that_names_it_and_the_start_works_once_it_is_there(raw: Raw) -> None:
    name = f"fact-{uuid4().hex[:8]}"
    network = raw.api.create_network(name)["Id"]
    made = raw.create(host={"NetworkMode": name})
    raw.api.remove_network(network)
    answer = raw.ask("POST", f"/containers/{made}/start")
    raw.fact(answer.status_code == 404, "a start on a network that is gone is answered 404")
    assert "network" in answer.json()["message"]
    assert "not found" in answer.json()["message"]
    raw.fact(raw.state(made)["ExitCode"] == 128, "its exit code is 128")
    again = raw.api.create_network(name)["Id"]
    try:
        assert raw.status("POST", f"/containers/{made}/start") == 204
    finally:
        raw.api.remove_container(made, force=True)
        raw.api.remove_network(again)


def test_e12_names_and_what_a_create_refuses(raw: Raw) -> None:
    name = f"fact-{uuid4().hex[:8]}"
    body = {"Image": SLEEPER, "Labels": {"tutela.fact": "1"}}
    answers: list[int] = []
    path = f"/containers/create?name={name}"
    tries = [threading.Thread(target=lambda: answers.append(raw.status("POST", path, body))) for _ in range(6)]
    for each in tries:
        each.start()
    for each in tries:
        each.join()
    raw.fact(sorted(answers) == [201, 409, 409, 409, 409, 409], "of creates of one name at once one is answered 201")
    holder = raw.api.inspect_container(name)["Id"]
    raw.fact(holder in raw.says("POST", path, body), "the refusal has the other's full id")
    assert raw.status("POST", "/containers/create?name=a", body) == 400
    assert raw.status("POST", "/containers/create", {**body, "Image": "tutela/none:1"}) == 404
    assert raw.status("POST", "/containers/create", {**body, "Image": "UPPER:x:y"}) == 400
    assert raw.status("POST", "/containers/create", {**body, "HostConfig": {"Memory": 1 << 20}}) == 400
    short = raw.create(name=holder[:8])
    raw.fact(raw.api.inspect_container(holder[:8])["Id"] == short, "a name comes before a prefix of an id")
    assert raw.api.inspect_container(holder)["Id"] == holder


def test_e13_removals_at_once(raw: Raw) -> None:
    made = raw.run()
    answers: list[requests.Response] = []
    path = f"/containers/{made}?force=1"
    tries = [threading.Thread(target=lambda: answers.append(raw.ask("DELETE", path))) for _ in range(6)]
    for each in tries:
        each.start()
    for each in tries:
        each.join()
    statuses = sorted(answer.status_code for answer in answers)
    raw.fact(statuses[0] == 204 and set(statuses) <= {204, 404, 409}, f"{statuses}: one is answered 204")
    for answer in answers:
        if answer.status_code == 409:
            assert "already in progress" in answer.json()["message"]
    assert raw.status("DELETE", path) == 404


def test_e14_ports(raw: Raw) -> None:
    bound = {"PortBindings": {"80/tcp": [{"HostPort": "38123"}]}}
    first = raw.run(host=bound, ExposedPorts={"80/tcp": {}})
    second = raw.create(host=bound, ExposedPorts={"80/tcp": {}})
    answer = raw.ask("POST", f"/containers/{second}/start")
    raw.fact(answer.status_code == 500, "a taken port is told at the start, with 500")
    assert "port is already allocated" in answer.json()["message"]
    raw.api.stop(first, timeout=2)
    assert raw.api.inspect_container(first)["NetworkSettings"]["Ports"] == {}
    assert raw.status("POST", f"/containers/{second}/start") == 204
    hidden = raw.run(host={"PortBindings": {"81/tcp": [{"HostPort": "38124"}]}})
    raw.fact(
        not raw.api.inspect_container(hidden)["NetworkSettings"]["Ports"].get("81/tcp"),
        "a binding of a port that is not exposed is ignored",
    )


def test_e15_a_first_process_without_a_handler_is_killed_unless_an_init_is_before_it(raw: Raw) -> None:
    plain, inited = (raw.run(host={"Init": init}, Cmd=["sleep", "1000"]) for init in (False, True))
    began = time.monotonic()
    raw.api.stop(inited, timeout=20)
    assert time.monotonic() - began < 15
    raw.fact(raw.state(inited)["ExitCode"] == 143, "with an init it ends by SIGTERM")
    raw.api.stop(plain, timeout=1)
    raw.fact(raw.state(plain)["ExitCode"] == 137, "without one it is killed after its grace")


def test_e16_e18_a_kill_by_the_api_is_a_manual_stop_and_no_lack_of_memory(raw: Raw) -> None:
    made = raw.run(host=policy("always"))
    first = raw.state(made)["StartedAt"]
    os.kill(raw.engine.pid_of(made), signal.SIGKILL)
    waited(lambda: raw.state(made)["StartedAt"] != first, what="the engine's restart")
    waited(lambda: raw.state(made)["Status"] == "running", what="it to run")
    assert raw.status("POST", f"/containers/{made}/kill") == 204
    state = raw.ended(made)
    assert (state["ExitCode"], state["OOMKilled"]) == (137, False)
    raw.fact(raw.api.inspect_container(made)["RestartCount"] == 1, "the kill by the API is no crash")


def test_e19_on_failure_with_three_tries_is_four_starts(raw: Raw) -> None:
    made = raw.run(EXITER, host=policy("on-failure", 3))
    waited(lambda: raw.api.inspect_container(made)["RestartCount"] == 3, what="three restarts")
    raw.ended(made)
    raw.fact(raw.api.inspect_container(made)["RestartCount"] == 3, "it is left then")


def test_e5_e19_the_policy_no_ends_a_crash_loop(raw: Raw) -> None:
    made = raw.run(EXITER, host=policy("always"))
    waited(lambda: raw.state(made)["Status"] == "restarting", what="the engine's pause", every=0.005)

    def quiet() -> bool:
        answer = raw.ask("POST", f"/containers/{made}/update", policy("no"))
        # Between the end of one try and the begin of the next it has no task to update, which the runtime
        # says in a word of its own for each moment ("not found", "deleted process", "stopped"): ask again.
        refused = answer.status_code == 500 and answer.json()["message"].startswith("Cannot update container")
        assert answer.status_code == 200 or refused, answer.text
        return answer.status_code == 200

    waited(quiet, what="the policy to be taken")
    raw.ended(made)
    count = raw.api.inspect_container(made)["RestartCount"]
    assert raw.status("POST", f"/containers/{made}/stop") == 304
    raw.fact(raw.api.inspect_container(made)["RestartCount"] == count, "it is not started again")


def test_e21_an_image_that_is_untagged_runs_on_and_is_made_from_by_its_id(raw: Raw) -> None:
    tag = f"tutela/fact-{uuid4().hex[:8]}:1"
    source = raw.create()
    image = raw.api.commit(source, repository=tag.partition(":")[0], tag="1")["Id"]
    made = raw.run(tag)
    raw.fact(raw.status("DELETE", f"/images/{tag}?force=1") == 200, "the tag of an image in use is removed by force")
    assert raw.status("POST", f"/containers/{made}/restart?t=2") == 204
    assert raw.status("POST", "/containers/create", {"Image": tag}) == 404
    again = raw.create(image)
    for each in (made, again):
        raw.api.remove_container(each, force=True)
    raw.api.remove_image(image, force=True)


def test_e22_an_engines_own_links_need_a_target_that_runs(raw: Raw) -> None:
    target = f"fact-{uuid4().hex[:8]}"
    body = {"Image": SLEEPER, "Labels": {"tutela.fact": "1"}, "HostConfig": {"Links": [f"{target}:db"]}}
    raw.fact(raw.status("POST", "/containers/create", body) == 400, "a link to nothing is refused")
    raw.create(name=target)
    client = raw.create(host={"Links": [f"{target}:db"]})
    raw.fact(raw.status("POST", f"/containers/{client}/start") == 500, "a client does not start before its target")
    assert raw.status("POST", f"/containers/{target}/start") == 204
    assert raw.status("POST", f"/containers/{client}/start") == 204


def test_e25_only_the_last_events_are_told_again(raw: Raw) -> None:
    since = int(time.time()) - 1
    names = [f"fact-{uuid4().hex}" for _ in range(260)]
    try:
        for name in names:
            assert raw.status("POST", "/volumes/create", {"Name": name}) == 201
        told = list(raw.api.events(since=since, until=int(time.time()) + 1, decode=True))
        raw.fact(0 < len(told) <= 256, f"{len(told)} events are told again, 256 at most")
    finally:
        for name in names:
            raw.api.remove_volume(name, force=True)
    assert raw.status("GET", "/events?since=yesterday") >= 400


def test_e29_what_a_create_takes_and_a_start_does_not(raw: Raw) -> None:
    nul = raw.create(Env=["A=b\0c"])
    raw.fact(raw.status("POST", f"/containers/{nul}/start") >= 400, "a NUL in a variable is refused at the start")
    lines = raw.run(Env=["A=b\nc"])
    assert "A=b\nc" in raw.api.inspect_container(lines)["Config"]["Env"]
    big = raw.create(Labels={"tutela.fact": "1", "big": "x" * (1 << 20)})
    raw.fact(len(raw.api.inspect_container(big)["Config"]["Labels"]["big"]) == 1 << 20, "a label may be a megabyte")


def test_e7_what_timed_out_is_carried_out_all_the_same(raw: Raw) -> None:
    made = raw.create()
    raw.engine.signal(signal.SIGSTOP)
    try:
        with pytest.raises(requests.exceptions.RequestException):
            raw.ask("POST", f"/containers/{made}/start", timeout=0.5)
    finally:
        raw.engine.signal(signal.SIGCONT)
    waited(lambda: raw.state(made)["Status"] == "running", what="the start that timed out")


def test_e1_e2_e3_e5_what_an_engine_that_was_killed_brings_back(own_engine: PrivateEngine) -> None:
    """Why agents set `always` or `on-failure`, and `no` before every stop; never `unless-stopped`."""
    raw = Raw(own_engine)
    names = ("always", "on-failure", "unless-stopped", "no")
    # With an init in front it ends with 143 by the engine's SIGTERM, which is a failure.
    made = {name: raw.run(host={**policy(name), "Init": True}, Cmd=["sleep", "1000"]) for name in names}
    made["stopped"] = raw.run(host=policy("always"))
    raw.api.stop(made["stopped"], timeout=5)
    made["quiet"] = raw.run(host=policy("always"))
    assert raw.status("POST", f"/containers/{made['quiet']}/update", policy("no")) == 200
    raw.api.stop(made["quiet"], timeout=5)
    made["created"] = raw.create(host=policy("always"))
    pid = own_engine.pid_of(made["always"])
    own_engine.kill()
    os.kill(pid, 0)  # It lives on, and so does its shim (E1).
    own_engine.restart()
    running = {"always", "on-failure", "stopped"}
    waited(
        lambda: all(raw.state(made[name])["Status"] == "running" for name in running),
        what="what the engine brings back",
    )
    found = {name: raw.state(each)["Status"] for name, each in made.items()}
    raw.fact(found["stopped"] == "running", "what was stopped under `always` is started again (E3)")
    raw.fact(found["unless-stopped"] == "exited", "`unless-stopped` stays down after a kill (E2)")
    raw.fact(found["no"] == "exited", "`no` stays down (E2)")
    raw.fact(found["quiet"] == "exited", "what was stopped under `no` stays down (E5)")
    raw.fact(found["created"] == "created", "what was never started is not (E3)")
    raw.fact(raw.api.inspect_container(made["always"])["RestartCount"] == 0, "that is not counted (E2)")


def test_e34_an_engine_that_ends_starts_what_old_connections_ask_for_and_takes_no_new_ones(
    own_engine: PrivateEngine,
) -> None:
    """What it starts then is killed when it begins anew. So agents ask for a new connection before they start again."""
    raw = Raw(own_engine)
    slow, quick = raw.run(Cmd=DEAF), raw.run(host={**policy("always"), "Init": True}, Cmd=["sleep", "1000"])
    old = http.client.HTTPConnection("engine", timeout=10)
    old.sock = socket.socket(socket.AF_UNIX)
    old.sock.connect(own_engine.base_url.removeprefix("unix://"))

    def asked(method: str, path: str) -> tuple[int, bytes]:
        old.request(method, f"/v1.41/containers/{path}")
        answer = old.getresponse()
        return answer.status, answer.read()

    def state(container: str) -> str:
        return str(json.loads(asked("GET", f"{container}/json")[1])["State"]["Status"])

    assert state(quick) == "running"
    ending = threading.Thread(target=own_engine.terminate)
    ending.start()
    try:
        waited(lambda: state(quick) == "exited", what="the first to end")
        with pytest.raises(requests.ConnectionError):
            own_engine.client().ping()
        raw.fact(asked("POST", f"{quick}/start")[0] == 204, "it is started")
        run = json.loads(asked("GET", f"{quick}/json")[1])["State"]
        raw.fact(run["Status"] == "running", "it runs")
        raw.fact(state(slow) == "running", "the engine waits for the other")
    finally:
        old.close()
        ending.join(timeout=60)
    own_engine.restart()
    waited(lambda: raw.state(quick)["Status"] == "running", what="it to be brought back")
    after = raw.state(quick)
    raw.fact(after["FinishedAt"] > run["StartedAt"], "what was started then was ended")
    raw.fact(after["Pid"] != run["Pid"], "and another run was begun")


def test_e4_with_live_restore_what_runs_is_not_touched() -> None:
    engine = PrivateEngine(live_restore=True)
    try:
        engine.start()
        ensure_images(engine.client())
        raw = Raw(engine)
        kept, temporary = raw.run(), raw.run(host={"AutoRemove": True})
        before, pid = raw.state(kept), engine.pid_of(kept)
        engine.kill()
        engine.restart()
        after = raw.state(kept)
        raw.fact((after["Pid"], after["StartedAt"]) == (pid, before["StartedAt"]), "it is the same run")
        waited(
            lambda: raw.status("GET", f"/containers/{temporary}/json") == 404,
            what="what removes itself to be gone: never used, therefore",
        )
    finally:
        engine.stop()
