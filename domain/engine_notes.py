"""What an operator should know of how a host's engine is set up (RELIABILITY S18). Pure; reported, never changed.

Points of section 2 of the CIS Docker Benchmark that an engine tells of itself, and versions with known ways out of a
container. The table of versions is what was known when this release was made, and no feed of advisories.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Code(StrEnum):
    """What a note is about, for programs."""

    API = "api-without-tls"
    LIVE_RESTORE = "no-live-restore"
    USER_NAMESPACES = "no-user-namespaces"
    DEFAULT_BRIDGE = "open-default-bridge"
    RUNC = "runc-escapes"
    RUNC_UNKNOWN = "runc-unknown"
    CONTAINERD = "containerd-escapes"
    AUTHORIZATION = "authorization-bypass"


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSetup:
    """How an engine says that it is set up; None and empty: it, or its agent, does not say.

    `open_api`: addresses of its API that ask callers for no certificate. `icc`: whether containers on the default
    bridge reach each other. `authorization`: whether plugins decide about calls of its API.
    """

    runc: str = ""
    containerd: str = ""
    open_api: tuple[str, ...] = ()
    live_restore: bool | None = None
    user_namespaces: bool | None = None
    icc: bool | None = None
    swarm: bool = False
    authorization: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineNote:
    """Something about the engine: what is wrong, and what helps, for people."""

    code: Code
    says: str
    remedy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Flaw:
    """Versions from `since` on have it, but not those of a line (x.y) from the version in `mended` on, nor later lines.

    A line between those, without a version of its own here, never got the change.
    """

    cve: str
    mended: tuple[str, ...]
    since: str = "0.0"


# By the projects' advisories (the numbers of the older ones are from memory): GHSA-gxmr-w5mj-v8hh, -c3xm-pvg7-gh7r,
# -xr7r-f8xq-vfvv, -9493-h29p-rfm2, -qw9x-cqr3-wc7r and -cgrx-mc8f-2prm.
RUNC = (
    Flaw(cve="CVE-2019-5736", mended=("1.0.0-rc7",)),
    Flaw(cve="CVE-2021-30465", mended=("1.0.0-rc95",)),
    Flaw(cve="CVE-2024-21626", since="1.0.0-rc93", mended=("1.1.12",)),
    Flaw(cve="CVE-2025-31133, CVE-2025-52565, CVE-2025-52881", mended=("1.2.8", "1.3.3", "1.4.0-rc.3")),
)
# GHSA-36xw-fx78-c5r4.
CONTAINERD = (Flaw(cve="CVE-2020-15257", mended=("1.3.9", "1.4.3")),)
# GHSA-v23v-6jw2-98fq; the second by reports about it only, its release notes were not at hand.
ENGINE = (
    Flaw(cve="CVE-2024-41110", mended=("23.0.15", "25.0.6", "26.1.5", "27.1.1")),
    Flaw(cve="CVE-2026-34040", mended=("29.3.1",)),
)

BY_VERSION = "going by the version: a distribution may have mended its own package under the same one"
_SAID = re.compile(r"v?(\d{1,5})\.(\d{1,5})(?:\.(\d{1,5}))?(?:[-~]rc\.?(\d{1,5}))?[\w.+~-]{0,60}", re.ASCII)
_RELEASED = 10**6
Version = tuple[int, int, int, int]


def parse_version(said: str) -> Version | None:
    """Major, minor, patch, release candidate; one that is no candidate comes after those. None: no version."""
    found = _SAID.fullmatch(said)
    if found is None:
        return None
    major, minor, patch, candidate = found.groups()
    return int(major), int(minor), int(patch or 0), int(candidate) if candidate else _RELEASED


def flaws_of(said: str, known: Sequence[Flaw]) -> tuple[Flaw, ...]:
    """Those of the known flaws that the version has; none when it cannot be told."""
    version = parse_version(said)
    return tuple(flaw for flaw in known if version is not None and _has(version, flaw))


def _has(version: Version, flaw: Flaw) -> bool:
    since = parse_version(flaw.since)
    mended = [found for found in map(parse_version, flaw.mended) if found is not None]
    if (since is not None and version < since) or version[:2] > max(mended)[:2]:
        return False
    return not any(version[:2] == line[:2] and version >= line for line in mended)


def engine_notes(version: str, setup: EngineSetup | None) -> tuple[EngineNote, ...] | None:
    """The notes on an engine of that version, what is worst first; None when its agent does not say."""
    if setup is None:
        return None
    notes = [
        *_open_api(setup.open_api),
        *_versions(version, setup),
        *_user_namespaces(setup),
        *_live_restore(setup),
        *_default_bridge(setup),
    ]
    return tuple(notes)


def _open_api(addresses: Sequence[str]) -> list[EngineNote]:
    if not addresses:
        return []
    return [
        EngineNote(
            code=Code.API,
            says=(
                f"its API listens on {', '.join(addresses)} and asks callers for no certificate: who reaches it is root"
                " on this host"
            ),
            remedy=(
                'take the address out of "hosts" in /etc/docker/daemon.json (or -H out of the unit): Tutela uses the'
                ' socket; or set "tlsverify" with "tlscacert", "tlscert" and "tlskey"'
            ),
        )
    ]


def _versions(version: str, setup: EngineSetup) -> list[EngineNote]:
    notes = []
    if parse_version(setup.runc) is None:
        notes.append(
            EngineNote(
                code=Code.RUNC_UNKNOWN,
                says="it does not say which version of runc it has, so that known ways out of a container are not seen",
                remedy="ask the host: runc --version; and compare with the newest release of runc",
            )
        )
    if found := flaws_of(setup.runc, RUNC):
        notes.append(
            EngineNote(
                code=Code.RUNC,
                says=(f"runc {setup.runc} lets a container out onto its host: {_listed(found)}; {BY_VERSION}"),
                remedy=(
                    "upgrade runc (Docker's own packages have it in containerd.io), or compare the changelog of the"
                    " distribution's package; it counts for containers that start after that"
                ),
            )
        )
    if found := flaws_of(setup.containerd, CONTAINERD):
        notes.append(
            EngineNote(
                code=Code.CONTAINERD,
                says=(
                    f"containerd {setup.containerd} lets a container in the host's network out onto its host:"
                    f" {_listed(found)}; {BY_VERSION}"
                ),
                remedy="upgrade containerd, restart it and then the containers; until then no service with net: host",
            )
        )
    if setup.authorization and (found := flaws_of(version, ENGINE)):
        notes.append(
            EngineNote(
                code=Code.AUTHORIZATION,
                says=f"Docker {version} can be called past its authorization plugins: {_listed(found)}; {BY_VERSION}",
                remedy="upgrade Docker; until then let nobody near its API whom a plugin is to hold back",
            )
        )
    return notes


def _listed(flaws: Sequence[Flaw]) -> str:
    return "; ".join(f"{flaw.cve} (mended in {', '.join(flaw.mended)})" for flaw in flaws)


def _user_namespaces(setup: EngineSetup) -> list[EngineNote]:
    if setup.user_namespaces is not False:
        return []
    return [
        EngineNote(
            code=Code.USER_NAMESPACES,
            says="user namespaces are off: root in a container that gets out is root on this host",
            remedy=(
                './tutela node drain, then "userns-remap": "default" in /etc/docker/daemon.json and a restart of the'
                " engine, which begins with an empty data directory: the node then asks for ./tutela node"
                " accept-engine. Privileged services and those with namespaces of the host do not start on it"
            ),
        )
    ]


def _live_restore(setup: EngineSetup) -> list[EngineNote]:
    if setup.live_restore is not False:
        return []
    return [
        EngineNote(
            code=Code.LIVE_RESTORE,
            says=(
                "live-restore is off: the containers here end when the engine stops or is upgraded, and at its start"
                " after a crash"
            ),
            remedy=(
                "an engine in a swarm cannot have it: ./tutela node drain before an upgrade; or do without overlay"
                " networks (TUTELA_NETWORK=ports)"
                if setup.swarm
                else '"live-restore": true in /etc/docker/daemon.json, then systemctl reload docker; but not on a host'
                " of a fleet with overlay networks: its engine could not join their swarm"
            ),
        )
    ]


def _default_bridge(setup: EngineSetup) -> list[EngineNote]:
    if setup.icc is not True:
        return []
    return [
        EngineNote(
            code=Code.DEFAULT_BRIDGE,
            says=(
                "containers on the default bridge reach each other's ports (icc). Tutela puts none there: each service"
                " has a network of its own"
            ),
            remedy='"icc": false in /etc/docker/daemon.json, then restart Docker; only if others start containers here',
        )
    ]
