"""Settings from the environment."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from app.settings import Settings, default_state_dir, explain, is_loopback


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("TUTELA_") or name in ("DATABASE_URL", "DOCKER_HOST", "XDG_DATA_HOME"):
            monkeypatch.delenv(name)


def test_defaults_are_private() -> None:
    settings = Settings()
    assert settings.host == "127.0.0.1"
    assert settings.public_url == settings.local_url == "http://127.0.0.1:8800"
    assert settings.database_url is None
    assert settings.role_set == {"api", "orchestrator", "agent"}
    assert not settings.exposed


def test_the_environment_counts_and_own_names_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://plain")
    monkeypatch.setenv("DOCKER_HOST", "unix:///d.sock")
    monkeypatch.setenv("TUTELA_PORT", "9000")
    settings = Settings()
    assert (settings.database_url, settings.docker_host) == ("postgresql://plain", "unix:///d.sock")
    assert settings.public_url == "http://127.0.0.1:9000"
    monkeypatch.setenv("TUTELA_DATABASE_URL", "postgresql://own")
    assert Settings().database_url == "postgresql://own"
    monkeypatch.setenv("DOCKER_HOST", "")
    assert Settings().docker_host is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_exposure_without_tls_needs_consent(host: str) -> None:
    with pytest.raises(ValidationError, match="TUTELA_INSECURE_HTTP"):
        Settings(host=host)
    assert Settings(host=host, insecure_http=True).exposed
    with pytest.raises(ValidationError, match="TUTELA_INSECURE_HTTP"):
        Settings(host=host, roles="orchestrator")
    assert Settings(host=host, roles="agent").joined_agent, "which listens nowhere"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.3.2.1", "::1", "localhost"])
def test_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"port": 0}, "TUTELA_PORT: "),
        ({"port": "x"}, "TUTELA_PORT: "),
        ({"roles": "api,nope"}, "nope"),
        ({"roles": ""}, "TUTELA_ROLES: "),
        ({"network_pool": "10.0.0.1/12"}, "TUTELA_NETWORK_POOL: "),
        ({"network_pool": "10.0.0.0/24"}, "/20"),
        ({"max_containers": 0}, "TUTELA_MAX_CONTAINERS: "),
        ({"network": "bridge"}, "TUTELA_NETWORK: "),
    ],
)
def test_bad_values_are_one_line_with_the_variable(values: dict[str, object], word: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Settings(**values)  # type: ignore[arg-type]
    assert word in explain(caught.value)
    assert "\n" not in explain(caught.value)


def test_secrets_stay_out_of_texts() -> None:
    settings = Settings(database_url="postgresql://u:hidden@h/d")
    assert "hidden" not in repr(settings)


def test_the_operators_table_has_every_setting_with_its_default() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "design" / "operating.md").read_text(encoding="utf-8")
    table = text.partition("\n## Settings\n")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| `TUTELA_(\w+)` \| ([^|]+) \| [^|]+ \| [^|]+ \|$", table, re.MULTILINE))
    assert list(rows) == [name.upper() for name in Settings.model_fields]
    for name, field in Settings.model_fields.items():
        if name in {"state_dir", "public_url", "agent_url"}:  # follow others
            continue
        shown = rows[name.upper()]
        default = str(field.default).lower() if isinstance(field.default, bool) else field.default
        assert shown == f"`{default}`" if default else shown.startswith("none"), name


def test_state_dir(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    expected = Path("/var/lib/tutela") if os.geteuid() == 0 else Path("/data/tutela")
    assert default_state_dir() == expected
    assert Settings(state_dir="relative").state_dir.is_absolute()
