"""What decisions know of the installation's settings."""

from __future__ import annotations

from app import inside
from app.settings import Settings
from domain.policy import NEVER, HostRules
from orchestrator.planning.view import Installation


def installation_of(settings: Settings) -> Installation:
    """The part of the settings that decisions go by."""
    api_url = settings.public_url.rstrip("/")
    return Installation(
        api_url=api_url,
        stream_url=api_url.replace("http", "ws", 1),
        public_domain=settings.public_domain,
        network=settings.network,
        network_pool=settings.network_pool,
        overlay_pool=settings.overlay_pool,
        inside_port=settings.port if inside.wanted(settings) else None,
        inside_address=settings.inside_address,
    )


def host_rules_of(settings: Settings) -> HostRules:
    """Who may have what of a host. What Tutela and its engine keep there is nobody's."""
    socket = (settings.docker_host or "").removeprefix("unix://")
    own = (str(settings.state_dir), *((socket,) if socket.startswith("/") else ()))
    return HostRules(access=settings.host_access, paths=settings.bindable, never=(*NEVER, *own))
