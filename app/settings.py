"""What the operator can set, from the environment: TUTELA_*, and plain DATABASE_URL and DOCKER_HOST."""

from __future__ import annotations

import ipaddress
import os
from functools import lru_cache
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from pydantic import AliasChoices, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from domain.networks import NETWORK_POOL, OVERLAY_POOL, NetworkMode, usable_address
from domain.policy import HostAccess

ROLES = ("api", "orchestrator", "agent")


def default_state_dir() -> Path:
    """Where state lives when nobody says: a system folder for root, the user's data folder otherwise."""
    if os.geteuid() == 0:
        return Path("/var/lib/tutela")
    data_home = os.environ.get("XDG_DATA_HOME", "")
    base = Path(data_home) if data_home.startswith("/") else Path.home() / ".local" / "share"
    return base / "tutela"


def is_loopback(host: str) -> bool:
    """True when only this machine can reach an address of that name."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _reachable(host: str) -> str:
    """The host part of a URL under which this machine reaches a listener bound to `host`."""
    if host == "0.0.0.0":  # noqa: S104 - compared, not bound
        return "127.0.0.1"
    if host == "::":
        return "[::1]"
    return f"[{host}]" if ":" in host else host


class Settings(BaseSettings):
    """All settings, validated once at start. Raises pydantic.ValidationError on a bad value."""

    model_config = SettingsConfigDict(
        env_prefix="TUTELA_", env_ignore_empty=True, frozen=True, extra="ignore", populate_by_name=True
    )

    state_dir: Path = Field(default_factory=default_state_dir)
    host: str = "127.0.0.1"
    port: int = Field(default=8800, ge=1, le=65535)
    public_url: str = ""
    agent_host: str = "127.0.0.1"
    agent_port: int = Field(default=8801, ge=1, le=65535)
    agent_url: str = ""
    database_url: str | None = Field(
        default=None, repr=False, validation_alias=AliasChoices("TUTELA_DATABASE_URL", "DATABASE_URL")
    )
    secret_key: str | None = Field(default=None, repr=False)
    docker_host: str | None = Field(default=None, validation_alias=AliasChoices("TUTELA_DOCKER_HOST", "DOCKER_HOST"))
    node_name: str = Field(default="local", min_length=1, max_length=63)
    roles: str = ",".join(ROLES)
    network: NetworkMode = NetworkMode.OVERLAY
    network_pool: str = NETWORK_POOL
    overlay_pool: str = OVERLAY_POOL
    public_domain: str = ""
    inside_address: str = ""
    max_containers: int = Field(default=1000, ge=1)
    insecure_http: bool = False
    metrics_open: bool = False
    host_access: HostAccess = HostAccess.ADMINS
    bind_paths: str = ""
    proxies: str = ""
    origins: str = ""
    limit_creates: int = Field(default=600, ge=1)
    limit_execs: int = Field(default=60, ge=1)
    limit_streams: int = Field(default=100, ge=1)

    @field_validator("state_dir")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return Path(os.path.abspath(value.expanduser()))

    @field_validator("roles")
    @classmethod
    def _known_roles(cls, value: str) -> str:
        names = [part.strip() for part in value.split(",") if part.strip()]
        unknown = [name for name in names if name not in ROLES]
        if unknown or not names:
            raise ValueError(f"unknown role {', '.join(unknown) or '(none given)'}; known: {', '.join(ROLES)}")
        return ",".join(name for name in ROLES if name in names)

    @field_validator("network_pool", "overlay_pool")
    @classmethod
    def _pool_is_a_network(cls, value: str) -> str:
        network = ipaddress.IPv4Network(value)
        if network.prefixlen > 20:
            raise ValueError(f"the pool must be at least a /20, got /{network.prefixlen}")
        return str(network)

    @model_validator(mode="before")
    @classmethod
    def _default_url(cls, data: object) -> object:
        """The public URL follows host and port unless it is given."""
        if not isinstance(data, dict) or data.get("public_url"):
            return data
        host = _reachable(str(data.get("host") or "127.0.0.1"))
        return {**data, "public_url": f"http://{host}:{data.get('port') or 8800}"}

    @field_validator("agent_url")
    @classmethod
    def _agent_url_is_of_websockets(cls, value: str) -> str:
        parts = urlsplit(value)
        if value and (parts.scheme != "wss" or not parts.hostname or parts.path not in {"", "/"}):
            raise ValueError("must be wss://HOST:PORT, as hosts that join reach the agents' door")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _no_silent_exposure(self) -> Self:
        """Plain HTTP beyond loopback carries keys in the clear: only on request."""
        if not self.joined_agent and not is_loopback(self.host) and not self.insecure_http:
            raise ValueError(
                f"refusing to listen on {self.host} without TLS; put a TLS proxy before 127.0.0.1 "
                "or set TUTELA_INSECURE_HTTP=1"
            )
        return self

    @model_validator(mode="after")
    def _pools_apart(self) -> Self:
        if ipaddress.IPv4Network(self.network_pool).overlaps(ipaddress.IPv4Network(self.overlay_pool)):
            raise ValueError(
                f"TUTELA_NETWORK_POOL ({self.network_pool}) and TUTELA_OVERLAY_POOL ({self.overlay_pool}) overlap: a"
                " container may be on networks of both"
            )
        return self

    @field_validator("bind_paths")
    @classmethod
    def _paths_are_absolute(cls, value: str) -> str:
        paths = [each.strip() for each in value.split(",") if each.strip()]
        if any(not each.startswith("/") or os.path.normpath(each) != each.rstrip("/") for each in paths):
            raise ValueError("must be absolute paths other than / without .., divided by commas")
        return ",".join(each.rstrip("/") for each in paths)

    @field_validator("proxies")
    @classmethod
    def _proxies_are_networks(cls, value: str) -> str:
        return ",".join(str(ipaddress.ip_network(each.strip())) for each in value.split(",") if each.strip())

    @property
    def proxy_networks(self) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
        """Where the proxies are whose `X-Forwarded-For` is believed."""
        return tuple(ipaddress.ip_network(each) for each in self.proxies.split(",") if each)

    @property
    def known_origins(self) -> frozenset[str]:
        """Origins (`https://host`) whose pages may open streams, beside this server's own."""
        return frozenset(each.strip().rstrip("/") for each in self.origins.split(",") if each.strip())

    @property
    def bindable(self) -> tuple[str, ...]:
        """Paths of the host that everyone's services may mount, and what is below them."""
        return tuple(each for each in self.bind_paths.split(",") if each)

    @property
    def own_address(self) -> str:
        """The address under which other hosts reach this one, as far as the settings tell; else empty."""
        named = (urlsplit(self.agent_url).hostname or "", self.agent_host, self.public_host)
        return next((each for each in named if usable_address(each)), "")

    @property
    def agents_door(self) -> str:
        """The URL under which hosts that join reach this process."""
        if self.agent_url:
            return self.agent_url
        wild = self.agent_host in {"0.0.0.0", "::"}  # noqa: S104 - compared, not bound
        return f"wss://{_reachable(self.public_host if wild else self.agent_host)}:{self.agent_port}"

    @property
    def role_set(self) -> frozenset[str]:
        """The roles this process runs."""
        return frozenset(self.roles.split(","))

    @property
    def joined_agent(self) -> bool:
        """Whether this process is the agent of a host that joined, and nothing else."""
        return self.role_set == {"agent"} and self.database_url is None

    @property
    def local_url(self) -> str:
        """The URL under which this machine reaches the API, whatever the public one is."""
        return f"http://{_reachable(self.host)}:{self.port}"

    @property
    def public_host(self) -> str:
        """The host of the public URL: where published ports are, as long as one machine is all there is."""
        return urlsplit(self.public_url).hostname or "127.0.0.1"

    @property
    def exposed(self) -> bool:
        """True when other machines can reach the API in plain HTTP at `host`."""
        return not is_loopback(self.host)

    @property
    def inside_exposed(self) -> bool:
        """True when `inside_address` serves whoever reaches it in plain HTTP, not this host's containers alone."""
        return bool(self.inside_address) and self.insecure_http


def _variable(name: str) -> str:
    """The environment's name of a setting, whether the field or one of its variables is named."""
    return f"TUTELA_{name.upper()}" if name in Settings.model_fields else name


def explain(error: ValidationError) -> str:
    """One line for people from a validation error, by the variables' names, without values (one may be a password)."""
    parts = []
    for item in error.errors(include_url=False, include_input=False, include_context=False):
        name = ".".join(_variable(str(step)) for step in item["loc"])
        message = item["msg"].removeprefix("Value error, ")
        parts.append(f"{name}: {message}" if name else message)
    return "; ".join(parts)


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """The settings of this process, read once. Raises pydantic.ValidationError."""
    return Settings()
