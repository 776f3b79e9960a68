"""The compose files: the form that docker-compose v1 takes, and settings that the product takes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # one test is no reason for its stubs

from app.settings import ROLES, Settings

ROOT = Path(__file__).resolve().parents[2]
FILES = ("docker-compose.yml", "docker-compose.split.yml")
KEYS = {"image", "build", "depends_on", "environment", "ports", "volumes", "healthcheck", "restart"}
"""What of a service the format 2.4 knows and these files use."""

OPERATOR = {"POSTGRES_PASSWORD": "p", "TUTELA_SECRET_KEY": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3I="}
_VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?::(?P<kind>[-?])(?P<rest>[^}]*))?\}")


def composed(name: str) -> dict[str, Any]:
    """The file as compose reads it, with what its head tells the operator to set."""

    def value(found: re.Match[str]) -> str:
        given = OPERATOR.get(found["name"]) if found["kind"] != "-" else None
        assert given is not None or found["kind"] == "-", f"{found['name']} is not told of"
        return given if given is not None else found["rest"]

    text = (ROOT / name).read_text()
    for variable in OPERATOR:
        assert f"{{{variable}:?" not in text or f"export {variable}=" in text
    loaded: dict[str, Any] = yaml.safe_load(_VARIABLE.sub(value, text))
    return loaded


def settings_of(service: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Settings:
    """What the product makes of the service's environment, on top of the image's own."""
    for line in re.findall(r"TUTELA_\w+=\S+", (ROOT / "Dockerfile").read_text()):
        monkeypatch.setenv(*line.split("=", 1))
    for key, value in service["environment"].items():
        assert key == "DATABASE_URL" or key.removeprefix("TUTELA_").lower() in Settings.model_fields, key
        monkeypatch.setenv(key, value)
    return Settings()


def ours(file: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The services that run Tutela."""
    return {name: each for name, each in file["services"].items() if name != "postgres"}


@pytest.mark.parametrize("name", FILES)
def test_the_format_is_that_of_compose_v1(name: str) -> None:
    file = composed(name)
    assert file.keys() == {"version", "services", "volumes"}
    assert file["version"] == "2.4"
    for service in file["services"].values():
        assert service.keys() <= KEYS
        for volume in service["volumes"]:
            source = volume.partition(":")[0]
            assert source.startswith("/") or source in file["volumes"]
        for other, condition in service.get("depends_on", {}).items():
            assert condition == {"condition": "service_healthy"}
            assert "healthcheck" in file["services"][other]


@pytest.mark.parametrize("name", FILES)
def test_every_role_is_played_once_with_settings_that_are_taken(name: str) -> None:
    roles: list[str] = []
    for service in ours(composed(name)).values():
        with pytest.MonkeyPatch.context() as environment:
            settings = settings_of(service, environment)
        assert not settings.joined_agent
        assert settings.database_url
        roles += settings.role_set
        # Who has the engine's socket is who has the agent, and nobody else has it (S26).
        assert ("agent" in settings.role_set) == any("docker.sock" in each for each in service["volumes"])
        assert ("api" in settings.role_set) == ("ports" in service)
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:")
            assert int(port.rpartition(":")[2]) in {settings.port, settings.agent_port}
    assert sorted(roles) == sorted(ROLES)


@pytest.mark.parametrize("name", FILES)
def test_what_an_operator_sets_reaches_the_control_plane(name: str) -> None:
    """All settings but those that are the container's own, in each service: they are to decide alike."""
    image = set(re.findall(r"(TUTELA_\w+)=\S+", (ROOT / "Dockerfile").read_text()))
    all_of_them = {f"TUTELA_{each.upper()}" for each in Settings.model_fields}
    own = {"TUTELA_DATABASE_URL", "TUTELA_DOCKER_HOST", "TUTELA_PORT", "TUTELA_AGENT_PORT", "TUTELA_ROLES"}
    fixed = {"DATABASE_URL", "TUTELA_ROLES", "TUTELA_AGENT_HOST"}
    for service in ours(yaml.safe_load((ROOT / name).read_text())).values():
        given = service["environment"]
        assert given.keys() - {"DATABASE_URL", "TUTELA_ROLES"} == all_of_them - image - own
        for variable in given.keys() - fixed:
            assert given[variable].startswith(f"${{{variable}:")


def test_the_agents_door_is_published() -> None:
    (service,) = ours(composed("docker-compose.yml")).values()
    with pytest.MonkeyPatch.context() as environment:
        settings = settings_of(service, environment)
    assert settings.agent_host == "0.0.0.0"
    assert f"127.0.0.1:{settings.agent_port}:{settings.agent_port}" in service["ports"]


def test_the_image_has_the_command_line(tmp_path: Path) -> None:
    """By the image's own line, with another place."""
    (line,) = re.findall(r"^RUN (.*/usr/local/bin/tutela.*)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    script = tmp_path / "tutela"
    subprocess.run(["sh", "-c", line.replace("/usr/local/bin/tutela", str(script))], check=True)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        [script, "node", "list", "--help"],
        env={"PATH": path, "PYTHONPATH": str(ROOT)}, cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "All hosts with their state" in done.stdout


def test_the_split_services_share_the_secret_and_no_state() -> None:
    services = ours(composed("docker-compose.split.yml"))
    assert {each["environment"]["TUTELA_ROLES"]: name for name, each in services.items()} == {
        each: each for each in ROLES
    }
    assert len({each["environment"]["TUTELA_SECRET_KEY"] for each in services.values()}) == 1
    assert len({each["environment"]["DATABASE_URL"] for each in services.values()}) == 1
    state = [volume for each in services.values() for volume in each["volumes"] if volume.endswith(":/var/lib/tutela")]
    assert len(set(state)) == len(services)
    with pytest.MonkeyPatch.context() as environment:
        # The agent dials this for logs and commands.
        assert settings_of(services["api"], environment).agents_door == "wss://api:8801"
