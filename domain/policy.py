"""What of a definition reaches beyond its containers, into the host, and who may ask for it (RELIABILITY S12 to S15).

One policy, asked where a definition is written, where it is carried out anew, and by the agent before it calls the
engine: an entry that was forgotten is then still refused on the host. Volumes are no matter of it: they are always the
engine's own, by names that are made here, without options of a driver.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from posixpath import normpath

from domain.access import Role
from domain.container import ContainerSpec
from domain.spec import ServiceSpec

NEVER = (
    "/etc",
    "/root",
    "/proc",
    "/sys",
    "/var/lib/docker",
    "/var/lib/containerd",
    "/var/lib/tutela",
    "/run/docker.sock",
    "/run/containerd",
    "/var/run/docker.sock",
    "/var/run/containerd",
)
"""Who writes there is the host's root, so these are nobody's to mount; nor is what they are in (S14)."""

DEFAULT_CAPABILITIES = frozenset(
    {
        "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "NET_RAW",
        "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
    }
)  # fmt: skip
"""What every container has: asking for it gives nothing."""


class HostAccess(StrEnum):
    """Whose services may have powers over a host; the setting `TUTELA_HOST_ACCESS`."""

    NOBODY = "nobody"
    ADMINS = "admins"
    EVERYONE = "everyone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """What somebody may ask of hosts. `powers`: everything, and all their paths but `never`; without it only what is
    at or below `paths`. Paths are absolute."""

    powers: bool = False
    paths: tuple[str, ...] = ()
    never: tuple[str, ...] = NEVER


@dataclass(frozen=True, slots=True, kw_only=True)
class HostRules:
    """The installation's rules: who has powers, the paths that are everyone's, and those that are nobody's."""

    access: HostAccess = HostAccess.ADMINS
    paths: tuple[str, ...] = ()
    never: tuple[str, ...] = NEVER

    def of(self, role: Role) -> Allowance:
        """What who has this role may ask for."""
        powers = self.access is HostAccess.EVERYONE or (self.access is HostAccess.ADMINS and role is Role.ADMIN)
        return Allowance(powers=powers, paths=self.paths, never=self.never)

    @property
    def of_host(self) -> Allowance:
        """What a host of such rules lends: it does not know whose a container is."""
        return Allowance(powers=self.access is not HostAccess.NOBODY, paths=self.paths, never=self.never)


def powers(spec: ServiceSpec | ContainerSpec) -> dict[str, str]:
    """What it asks for that a container does not have by itself: attribute to what is asked."""
    host_network = spec.host_network if isinstance(spec, ContainerSpec) else spec.net == "host"
    host_pid = spec.host_pid if isinstance(spec, ContainerSpec) else spec.pid == "host"
    capabilities = [each for each in spec.cap_add if each.upper().removeprefix("CAP_") not in DEFAULT_CAPABILITIES]
    options = [each for each in spec.security_opt if not each.startswith("no-new-privileges")]
    asked = {
        "privileged": "all devices and capabilities" if spec.privileged else "",
        "net": "the host's network" if host_network else "",
        "pid": "the host's processes" if host_pid else "",
        "cap_add": ", ".join(capabilities),
        "devices": ", ".join(spec.devices),
        "security_opt": ", ".join(options),
        "cgroup_parent": spec.cgroup_parent or "",
    }
    return {name: what for name, what in asked.items() if what}


def refused_powers(spec: ServiceSpec | ContainerSpec, allowance: Allowance) -> dict[str, str]:
    """Attribute to complaint; empty when the powers that it asks for are allowed."""
    if allowance.powers:
        return {}
    return {
        name: f"asks for {what[:200]}: that reaches into the host, which is for services of an admin (or, with"
        " TUTELA_HOST_ACCESS, of everyone or nobody)"
        for name, what in powers(spec).items()
    }


def refused_path(path: str, allowance: Allowance) -> str | None:
    """Why a path of a host may not be mounted; None when it may. Compared without `.`, `..` and doubled slashes."""
    plain = _plain(path)
    for each in allowance.never:
        if _within(plain, each) or _within(each, plain):
            return f"{plain} is, holds or is inside {each}, which no container may have: use a managed volume"
    if allowance.powers or any(_within(plain, each) for each in allowance.paths):
        return None
    where = f"at or below {', '.join(allowance.paths)}" if allowance.paths else "of no kind"
    return f"{plain}: paths of the host are for services of an admin, others may mount those {where}; use a volume"


def refused_link(path: str, real: str, allowance: Allowance) -> str | None:
    """Why a path may not be mounted on the host where symbolic links lead it to `real`; None when it may."""
    why = refused_path(path, allowance) or refused_path(real, allowance)
    if why is None and _in_any(path, allowance.paths) and not _in_any(real, allowance.paths):
        return f"{_plain(path)} is a link that leads out of what may be mounted: name {real} itself"
    return why


def refused(spec: ServiceSpec, allowance: Allowance) -> dict[str, str]:
    """Attribute to complaint; empty when the definition may be carried out. `volumes_from` is the caller's to follow,
    with `refused_path` for each of `host_paths`."""
    complaints = refused_powers(spec, allowance)
    for index, binding in enumerate(spec.bindings):
        why = refused_path(binding.host_path, allowance) if binding.host_path else None
        if why is not None:
            complaints[f"bindings[{index}].host_path"] = why
    return complaints


def host_paths(spec: ServiceSpec) -> tuple[str, ...]:
    """The paths of the host that it names itself."""
    return tuple(each.host_path for each in spec.bindings if each.host_path)


def _plain(path: str) -> str:
    # normpath keeps two leading slashes, which the kernel takes for one.
    return "/" + normpath(path).lstrip("/")


def _within(path: str, folder: str) -> bool:
    return folder == "/" or path == folder or path.startswith(f"{folder}/")


def _in_any(path: str, folders: Iterable[str]) -> bool:
    return any(_within(_plain(path), each) for each in folders)
