"""`python-tutum` itself: the last two releases, and the seed's, as programs use them."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable
from typing import Any

import pytest

from tests.clients.cli import Cli
from tests.clients.conftest import Shop
from tests.e2e.scenario import SLEEPER, User

pytestmark = [pytest.mark.e2e, pytest.mark.engine, pytest.mark.postgres]
Sleeping = Callable[..., str]
HEAD = "from __future__ import print_function\nimport json, os, sys, threading, time, tutum\n"
WAIT = """
def until(service, state):
    for _ in range(300):
        service.refresh(force=True)
        if service.state == state:
            return
        time.sleep(0.1)
    raise SystemExit("%s, not %s" % (service.state, state))
"""


def program(cli: Cli, script: str, **more: Any) -> Any:
    """Run a script; returns the JSON that it prints."""
    result = cli.python(HEAD + WAIT + textwrap.dedent(script), **more)
    assert result.code == 0, str(result)
    return json.loads(result.out)


def test_the_release(sdk: Cli, request: pytest.FixtureRequest) -> None:
    assert program(sdk, "print(json.dumps(tutum.__version__))") == request.node.callspec.params["sdk"]


@pytest.mark.parametrize("sdk", ["0.21.2"], indirect=True)
def test_a_key_given_in_code(sdk: Cli) -> None:
    """0.21.2 takes it, 0.21.1 does not look at it."""
    script = f"tutum.user, tutum.apikey = {sdk.user!r}, {sdk.key!r}\nprint(len(tutum.Node.list()))"
    assert program(sdk, script, env={"TUTUM_USER": None, "TUTUM_APIKEY": None}) == 1


def test_a_service(sdk: Cli, user: User, name: str) -> None:
    found = program(
        sdk,
        f"""
        service = tutum.Service.create(image="{SLEEPER}", name="{name}", target_num_containers=2,
                                       container_envvars=[{{"key": "A", "value": "1"}}])
        assert service.save() and not service.is_dirty
        assert service.state == "Init", service.state
        assert service.start()
        assert service.tutum_action_uri.startswith("/api/v1/action/"), service.tutum_action_uri
        until(service, "Running")
        service.target_num_containers = 3
        assert service.save() and service.scale()
        until(service, "Running")
        assert service.running_num_containers == 3
        mine = tutum.Service.list(name="{name}")
        assert [each.uuid for each in mine] == [service.uuid]
        containers = tutum.Container.list(service=service.resource_uri)
        first = tutum.Utils.fetch_by_resource_uri(service.containers[0])
        assert first.uuid in [each.uuid for each in containers]
        action = tutum.Utils.fetch_by_resource_uri(service.tutum_action_uri) if service.tutum_action_uri else None
        assert service.stop()
        until(service, "Stopped")
        assert service.start()
        until(service, "Running")
        assert service.redeploy(reuse_volumes=False)
        until(service, "Running")
        assert service.delete()
        until(service, "Terminated")
        print(json.dumps([service.uuid, len(containers)]))
        """,
    )
    assert found[1] == 3
    assert user.get(found[0])["state"] == "Terminated"


def test_a_service_written_back_as_it_was_read(sdk: Cli, user: User, name: str, sleeping: Sleeping) -> None:
    uuid = sleeping(container_envvars=[{"key": "A", "value": "1"}], bindings=[{"container_path": "/data"}])
    before = user.get(uuid)
    program(
        sdk,
        f"""
        service = tutum.Service.fetch("{uuid}")
        for key in service.get_all_attributes():
            service.__addchanges__(key)
        assert service.save()
        print(json.dumps(service.state))
        """,
    )
    after = user.is_in(uuid, "Running")
    assert after["containers"] == before["containers"]


def test_tags_and_triggers(sdk: Cli, user: User, name: str) -> None:
    uuid = user.create(name, target=1)
    found = program(
        sdk,
        f"""
        service = tutum.Service.fetch("{uuid}")
        tag = tutum.Tag.fetch(service)
        tag.add(["a", "b"])
        assert tag.save()
        tag.delete("a")
        trigger = tutum.Trigger.fetch(service)
        trigger.add("again", "REDEPLOY")
        assert trigger.save()
        (made,) = trigger.list()
        assert trigger.delete(made["uuid"])
        service.refresh(force=True)
        print(json.dumps([[each["name"] for each in service.tags], made["name"], trigger.list()]))
        """,
    )
    assert found == [["b"], "again", []]


def test_lists_go_over_pages(sdk: Cli, user: User, name: str) -> None:
    made = {user.create(f"{name}-{number}") for number in range(28)}
    listed = program(sdk, "print(json.dumps([each.uuid for each in tutum.Service.list()]))")
    assert made <= set(listed)
    assert len(listed) == len(set(listed))
    assert program(sdk, "print(len(tutum.Action.list(limit=30)))") == 30
    for uuid in made:
        user.do(uuid, "terminate")


def test_no_attribute_hides_a_method(sdk: Cli, shop: Shop) -> None:
    found = program(
        sdk,
        f"""
        hidden = []
        service = tutum.Service.fetch("{shop.uuid}")
        objects = [service, tutum.Container.list()[0], tutum.Node.list()[0], tutum.Action.list(limit=1)[0]]
        for each in objects:
            hidden += [key for key in vars(each) if callable(getattr(type(each), key, None))]
        print(json.dumps(hidden))
        """,
    )
    assert found == []


def test_errors(sdk: Cli) -> None:
    found = program(
        sdk,
        """
        said = []
        for call in (
            lambda: tutum.Service.fetch("00000000-0000-4000-8000-000000000000"),
            lambda: tutum.Service.create(name="x").save(),
            lambda: tutum.Service.list(colour="red"),
        ):
            try:
                call()
            except tutum.TutumApiError as problem:
                said.append(str(problem))
        print(json.dumps(said))
        """,
    )
    assert [each.split(" (")[0] for each in found] == ["Status 404", "Status 400", "Status 400"]
    assert all('"error"' in each for each in found)


def test_a_wrong_key(sdk: Cli) -> None:
    script = HEAD + "try:\n    tutum.Service.list()\nexcept tutum.TutumAuthError as problem:\n    print(problem)\n"
    assert sdk.python(script, env={"TUTUM_APIKEY": "wrong"}).out == "Not authorized\n"


def test_events(sdk: Cli, name: str) -> None:
    found = program(
        sdk,
        f"""
        heard = []
        ready, listening, done, gone = [threading.Event() for _ in range(4)]
        def message(event):
            heard.append(event)
            listening.set()
            if event["type"] == "service" and event["state"] == "Running":
                done.set()
            if event["type"] == "service" and event["state"] == "Terminated":
                gone.set()
        events = tutum.TutumEvents()
        events.on_open(ready.set)
        events.on_message(message)
        thread = threading.Thread(target=events.run_forever)
        thread.setDaemon(True)
        thread.start()
        assert ready.wait(30)
        for _ in range(60):
            tutum.Service.create(image="{SLEEPER}", name="{name}-before").save()
            if listening.wait(0.5):
                break
        service = tutum.Service.create(image="{SLEEPER}", name="{name}")
        service.save()
        service.start()
        assert done.wait(30), heard
        service.delete()
        until(service, "Terminated")
        assert gone.wait(30), heard
        print(json.dumps([service.resource_uri, heard]))
        sys.stdout.flush()
        os._exit(0)
        """,
    )
    uri, heard = found
    assert all(set(each) >= {"type", "action", "parents", "resource_uri", "state"} for each in heard), heard
    mine = [each for each in heard if each["type"] == "service" and each["resource_uri"] == uri]
    assert (mine[0]["action"], mine[0]["state"]) == ("create", "Init")
    states = [each["state"] for each in mine]
    assert states.index("Starting") < states.index("Running") < states.index("Terminated")
    containers = [each for each in heard if each["type"] == "container" and uri in each["parents"]]
    assert {each["state"] for each in containers} >= {"Running", "Terminated"}
    assert all(any(parent.startswith("/api/v1/node/") for parent in each["parents"]) for each in containers)
    actions = [each for each in heard if each["type"] == "action" and uri in each["parents"]]
    assert "Success" in {each["state"] for each in actions}


def test_a_listener_outlives_its_pings(later: Cli) -> None:
    """It sends one every 5 s and drops the line when no pong comes."""
    found = program(
        later,
        """
        ready, closed = threading.Event(), threading.Event()
        events = tutum.TutumEvents()
        events.on_open(ready.set)
        events.on_close(closed.set)
        thread = threading.Thread(target=events.run_forever)
        thread.setDaemon(True)
        thread.start()
        assert ready.wait(30)
        print(json.dumps(closed.wait(11)))
        sys.stdout.flush()
        os._exit(0)
        """,
    )
    assert found is False


def test_events_with_a_wrong_key_end(sdk: Cli) -> None:
    script = HEAD + "try:\n    tutum.TutumEvents().run_forever()\nexcept tutum.TutumAuthError as it:\n    print(it)\n"
    result = sdk.python(script, env={"TUTUM_APIKEY": "wrong"}, timeout=30)
    assert result.out == "Not authorized\n", str(result)


def test_logs_and_exec(sdk: Cli, shop: Shop) -> None:
    found = program(
        sdk,
        f"""
        heard = dict(service=[], container=[], run=[])
        service = tutum.Service.fetch("{shop.uuid}")
        service.logs(10, False, heard["service"].append)
        container = tutum.Container.fetch("{shop.containers[0]}")
        container.logs(None, False, heard["container"].append)
        container.execute("sh -c 'echo 6$((3+4))'", heard["run"].append)
        print(json.dumps({{key: [json.loads(each) for each in value] for key, value in heard.items()}}))
        """,
    )
    lines = {(each["type"], each["source"], each["log"], each["streamType"]) for each in found["service"]}
    assert lines == {
        ("log", name, log, stream)
        for name in ("shop-1", "shop-2")
        for log, stream in (("open for books\n", "stdout"), ("late\n", "stderr"))
    }
    assert all(isinstance(each["timestamp"], int) for each in found["service"])
    assert sorted(each["log"] for each in found["container"]) == ["late\n", "open for books\n"]
    assert all("source" not in each for each in found["container"])
    assert "67" in "".join(each["output"] for each in found["run"] if each["streamType"])
    assert found["run"][-1] == {"type": "exec", "output": "EOF", "streamType": ""}


def test_a_stack(sdk: Cli, name: str) -> None:
    found = program(
        sdk,
        f"""
        services = [
            {{"name": "a", "image": "{SLEEPER}", "linked_to_service": [{{"to_service": "b", "name": "b"}}]}},
            {{"name": "b", "image": "{SLEEPER}", "container_envvars": [{{"key": "B", "value": "2"}}]}},
        ]
        stack = tutum.Stack.create(name="{name}", services=services)
        assert stack.save() and stack.start()
        until(stack, "Running")
        exported = stack.export()
        assert stack.delete()
        until(stack, "Terminated")
        print(json.dumps(exported))
        """,
    )
    assert set(found) == {"a", "b"}
    assert found["a"]["image"] == SLEEPER


def test_the_seed_sdk(seed: Cli, user: User, name: str) -> None:
    uuid, logs, tags = program(
        seed,
        f"""
        service = tutum.Service.create(image="{SLEEPER}", name="{name}", target_num_containers=1,
                                       run_command='sh -c "echo hello; exec sleep 1000"')
        assert service.save() and service.start()
        until(service, "Running")
        service.target_num_containers = 2
        assert service.save()
        until(service, "Running")
        assert service.running_num_containers == 2
        service.tag.add("a")
        service.tag.add(["b", "c"])
        tags = [each["name"] for each in service.tag.list()]
        service = tutum.Service.list(unique_name="{name}")[0]
        for _ in range(300):
            logs = service.logs
            if logs.count(" hello\\n") == 2:
                break
            time.sleep(0.1)
        assert tutum.Node.list() and tutum.Action.list() and tutum.Image.list() is not None
        service.delete()
        until(service, "Terminated")
        print(json.dumps([service.uuid, logs, tags]))
        """,
    )
    assert logs.count(" hello\n") == 2
    assert tags == ["a", "b", "c"]
    assert user.get(uuid)["state"] == "Terminated"


def test_the_seed_sdk_takes_a_password_for_a_key(seed: Cli) -> None:
    found = program(
        seed,
        f"""
        tutum.user = tutum.apikey = None
        user, key = tutum.auth.get_auth("{seed.user}", "{seed.key}")
        tutum.user, tutum.apikey = user, key
        tutum.Service.list()
        print(json.dumps([user, bool(key)]))
        """,
    )
    assert found == [seed.user, True]
