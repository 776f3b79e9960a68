"""From what an engine says of itself to what is told of it."""

from __future__ import annotations

import os
import re
from typing import Any

from agents.runtime.base import Json
from domain.assignment import EngineInfo
from domain.engine_notes import EngineSetup

DISK_STEP_MB = 64
"""Coarse, so that not every written file is news."""

_OPEN_API = re.compile(r"API is accessible on (https?://\S+) without")
"""Among the warnings: of an address without TLS, or without TLS for clients, since 19.03."""

_ICC = "com.docker.network.bridge.enable_icc"


def engine_info(info: Json, version: Json, networks: list[Json]) -> EngineInfo:
    """The engine, from its answers to `/info` and `/version` and its networks called `bridge`."""
    bridge: Json = next((each for each in networks if each.get("Name") == "bridge"), {})
    disk, free = _disk(str(info.get("DockerRootDir", "")))
    return EngineInfo(
        engine_id=str(info.get("ID", "")),
        version=str(info.get("ServerVersion", "")),
        storage_driver=str(info.get("Driver", "")),
        cpus=int(info.get("NCPU", 0)),
        memory=int(info.get("MemTotal", 0)) // (1024 * 1024),
        gateway=_gateway(bridge),
        disk=disk,
        disk_free=free,
        place=f"{info.get('Name', '')}:{info.get('DockerRootDir', '')}",
        setup=_setup(info, version, bridge),
    )


def _setup(info: Json, version: Json, bridge: Json) -> EngineSetup:
    versions = {str(each.get("Name")): str(each.get("Version") or "") for each in version.get("Components") or ()}
    options: Any = info.get("SecurityOptions")
    icc = (bridge.get("Options") or {}).get(_ICC)
    return EngineSetup(
        runc=versions.get("runc", ""),
        containerd=versions.get("containerd", ""),
        open_api=tuple(sorted(set(_OPEN_API.findall("\n".join(info.get("Warnings") or ()))))),
        live_restore=info.get("LiveRestoreEnabled"),
        # A rootless engine is in a user namespace as a whole.
        user_namespaces=None if options is None else not {"name=userns", "name=rootless"}.isdisjoint(options),
        icc=None if icc is None else icc == "true",
        swarm=(info.get("Swarm") or {}).get("LocalNodeState", "inactive") != "inactive",
        authorization=bool((info.get("Plugins") or {}).get("Authorization")),
    )


def _disk(root: str) -> tuple[int, int]:
    """Size and free space in MB of the disk with the engine's data, if the agent can see it; else zeros."""
    try:
        found = os.statvfs(root)
    except OSError:
        return 0, 0
    mb = 1024 * 1024
    free = found.f_bavail * found.f_frsize // mb // DISK_STEP_MB * DISK_STEP_MB
    return found.f_blocks * found.f_frsize // mb, free


def _gateway(bridge: Json) -> str:
    """The host's address on the default bridge, which containers of every network reach."""
    for block in (bridge.get("IPAM") or {}).get("Config") or ():
        return str(block.get("Gateway") or "")
    return ""
