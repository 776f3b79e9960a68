"""`tutela up --sample`: two linked services over HTTP, so that the main job is seen in one command."""

from __future__ import annotations

import time
from typing import Any

import typer

from app.cli import CommandError
from app.cli.client import KEY_FILE, ApiError, Client, read_key
from app.engine import find_engine, request
from app.settings import Settings
from domain.service import ServiceState

REPOSITORY, TAG = "tutela/hello", "latest"
IMAGE = f"{REPOSITORY}:{TAG}"
READY_SECONDS = 30.0
# PID 1 gets no default signal handling: without the trap every stop would last its whole grace.
HELLO = "hostname > /www/index.html; trap 'exit 0' TERM; httpd -f -p 80 -h /www & wait $!"
CLIENT = "sh -c 'trap \"exit 0\" TERM; while :; do wget -qO- http://web/; sleep 2 & wait $!; done'"
STARTABLE = frozenset({ServiceState.INIT, ServiceState.NOT_RUNNING, ServiceState.STOPPED})


def start_sample(settings: Settings, url: str) -> None:
    """Make the image, the two services, and wait for both. Existing ones are reused. Raises CommandError."""
    key = read_key(settings.state_dir)
    if key is None:
        raise CommandError(f"the sample needs the key in {settings.state_dir / KEY_FILE}, which cannot be read")
    api = Client(url, key)
    _provide_image(settings)
    try:
        web = _ensure(api, _web())
        client = _ensure(api, _client(str(web["resource_uri"])))
        services = [_until_running(api, str(service["uuid"])) for service in (web, client)]
        _show(api, url, services)
    except (ApiError, KeyError) as error:
        raise CommandError(f"the sample did not start: {error}") from error


def _web() -> dict[str, Any]:
    port = {"protocol": "tcp", "inner_port": 80, "published": True}
    return {
        "name": "web",
        "image": IMAGE,
        "target_num_containers": 2,
        "container_ports": [port],
        "autorestart": "ALWAYS",
    }


def _client(web_uri: str) -> dict[str, Any]:
    link = {"to_service": web_uri, "name": "web"}
    return {
        "name": "client",
        "image": IMAGE,
        "run_command": CLIENT,
        "linked_to_service": [link],
        "autorestart": "ALWAYS",
    }


def _provide_image(settings: Settings) -> None:
    """Import the image unless the engine has it already."""
    engine = find_engine(settings.docker_host)
    if not engine.ready:
        raise CommandError(engine.advice)
    try:
        if request(engine.url, f"/images/{IMAGE}/json", timeout=10)[0] == 200:
            return
    except OSError as error:
        raise CommandError(f"the Docker engine does not answer: {error}") from error
    from agents.runtime.samples import ImportRefused, NoBusybox, import_busybox_image

    typer.echo(f"building {IMAGE} from this machine's busybox")
    try:
        import_busybox_image(engine.url, REPOSITORY, TAG, ["sh", "-c", HELLO], [80])
    except (NoBusybox, ImportRefused) as error:
        raise CommandError(str(error)) from error


def _ensure(api: Client, wanted: dict[str, Any]) -> dict[str, Any]:
    """The service of that name, made when there is none, started when it does not run."""
    living = [s for s in api.get("service/", name=wanted["name"])["objects"] if s["state"] != ServiceState.TERMINATED]
    service: dict[str, Any] = living[0] if living else api.post("service/", wanted)
    typer.echo(f"  service {wanted['name']}: {'found' if living else 'created'}")
    if service["state"] in STARTABLE:
        api.post(f"service/{service['uuid']}/start/")
    return service


def _until_running(api: Client, uuid: str) -> dict[str, Any]:
    deadline = time.monotonic() + READY_SECONDS
    while True:
        service = api.get(f"service/{uuid}/")
        if service["state"] == ServiceState.RUNNING:
            return service
        if time.monotonic() > deadline:
            raise CommandError(
                f"service {service['name']} is still {service['state']!r} after {READY_SECONDS:g} s; "
                "`./tutela status` and the log say more"
            )
        time.sleep(0.1)


def _show(api: Client, url: str, services: list[dict[str, Any]]) -> None:
    typer.echo("The sample runs:")
    for service in services:
        for container in api.get("container/", service=service["resource_uri"])["objects"]:
            ports = [f":{p['outer_port']}->{p['inner_port']}" for p in container["container_ports"] if p["outer_port"]]
            typer.echo(f"  {container['name']:12} {container['state']:10} {' '.join(ports)}")
    typer.echo(f"What the client hears: GET {url}/api/v1/service/{services[-1]['uuid']}/logs/")
