"""The attributes of the later API that are passed on to Docker, read from a body (spec 2.3, 2.9)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from app.wire.reading import Reading, storable
from app.wire.scalars import uuid_of
from domain.spec import Binding, Env

HOSTNAME = re.compile(r"^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$")
MAC = re.compile(r"^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}$")
CPUSET = re.compile(r"^[0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*$")
CAPABILITY = re.compile(r"^(CAP_)?[A-Z_]{2,40}$")
DEVICE = re.compile(r"^/[^:\s]+(:/[^:\s]+)?(:[rwm]{1,3})?$")
EXTRA_HOST = re.compile(r"^[A-Za-z0-9.-]+:[0-9A-Fa-f.:]+$")
ADDRESS = re.compile(r"^[0-9A-Fa-f.:]{2,45}$")
OWN_LABELS = "tutela."

Reader = Callable[[Reading, Any, str], Any]


def _matching(pattern: re.Pattern[str], what: str) -> Reader:
    def read(reading: Reading, value: Any, path: str) -> str | None:
        text = reading.text(value, path, most=255)
        if text and not pattern.fullmatch(text):
            reading.fail(path, f"must be {what}")
        return text or None

    return read


def _list_of(pattern: re.Pattern[str] | None, what: str, *, one: bool = False, upper: bool = False) -> Reader:
    """A list of text; with `one` a single text is taken for a list of one."""

    def read(reading: Reading, value: Any, path: str) -> tuple[str, ...]:
        if one and isinstance(value, str):
            value = [value] if value else []
        out: list[str] = []
        for index, item in enumerate(reading.items(value, path, most=100)):
            text = reading.text(item, f"{path}[{index}]", most=1024)
            text = text.upper() if upper else text
            if not text or (pattern is not None and not pattern.fullmatch(text)):
                reading.fail(f"{path}[{index}]", f"must be {what}")
            elif text not in out:
                out.append(text)
        return tuple(out)

    return read


def _one_of(*options: str) -> Reader:
    def read(reading: Reading, value: Any, path: str) -> str:
        text = str(value).strip().lower() or options[0]
        if text not in options:
            reading.fail(path, f"must be one of {', '.join(options)}")
        return text

    return read


def _labels(reading: Reading, value: Any, path: str) -> Env:
    out: dict[str, str] = {}
    for key, item in reading.mapping(value, path).items():
        if not key or not storable(key) or key.lower().startswith(OWN_LABELS):
            reading.fail(path, f"must have names, none of which begins with {OWN_LABELS}: those are Tutela's own")
            continue
        text = str(item) if isinstance(item, int | float) else item
        out[key] = reading.text("" if text is None else text, f"{path}.{key[:60]}", most=4096)
    return tuple(sorted(out.items()))


def _bindings(reading: Reading, value: Any, path: str) -> tuple[Binding, ...]:
    out: list[Binding] = []
    for index, item in enumerate(reading.items(value, path, most=100)):
        here = f"{path}[{index}]"
        entry = reading.mapping(item, here)
        if isinstance(item, dict):
            out.append(_binding(reading, entry, here))
    targets = [binding.container_path for binding in out if binding.container_path]
    if len(set(targets)) != len(targets):
        reading.fail(path, "must not mount two things at one container_path")
    return tuple(out)


def _binding(reading: Reading, entry: Mapping[str, Any], path: str) -> Binding:
    origin = entry.get("volumes_from") or entry.get("volume_from") or None
    service = uuid_of(origin, "service") if isinstance(origin, str) else None
    if origin is not None and service is None:
        reading.fail(f"{path}.volumes_from", "must be the resource URI of a service")
    rewritable = entry.get("rewritable")
    return Binding(
        container_path=_path(reading, entry.get("container_path"), f"{path}.container_path", needed=origin is None),
        host_path=_path(reading, entry.get("host_path"), f"{path}.host_path", needed=False),
        rewritable=True if rewritable is None else reading.boolean(rewritable, f"{path}.rewritable"),
        volumes_from=service,
    )


def _path(reading: Reading, value: Any, path: str, *, needed: bool) -> str | None:
    if value in (None, ""):
        if needed:
            reading.fail(path, "is required, unless volumes_from is given")
        return None
    text = reading.text(value, path, most=1024)
    if not text.startswith("/") or ":" in text or text == "/" or ".." in text.split("/"):
        reading.fail(path, "must be an absolute path other than /, without : and ..")
    return text.rstrip("/") or None


READERS: dict[str, Reader] = {
    "net": _one_of("bridge", "host"),
    "pid": _one_of("none", "host"),
    "hostname": _matching(HOSTNAME, "a host name"),
    "domainname": _matching(HOSTNAME, "a domain name"),
    "mac_address": _matching(MAC, "six bytes in hexadecimal, such as 02:42:ac:11:00:02"),
    "cpuset": _matching(CPUSET, "CPU numbers, such as 0-2,4"),
    "cgroup_parent": _matching(re.compile(r"^[A-Za-z0-9_./-]+$"), "the path of a control group"),
    "dns": _list_of(ADDRESS, "the address of a name server", one=True),
    "dns_search": _list_of(re.compile(r"^[A-Za-z0-9.-]+$"), "a domain", one=True),
    "cap_add": _list_of(CAPABILITY, "the name of a capability, such as NET_ADMIN", upper=True),
    "cap_drop": _list_of(CAPABILITY, "the name of a capability, such as MKNOD", upper=True),
    "devices": _list_of(DEVICE, "/dev/PATH, /dev/PATH:/dev/INSIDE or /dev/PATH:/dev/INSIDE:rwm"),
    "extra_hosts": _list_of(EXTRA_HOST, "name:address"),
    "security_opt": _list_of(None, "an option of Docker, such as label:user:USER"),
    "labels": _labels,
    "bindings": _bindings,
}
"""Attribute to reader; the attributes are called the same in the definition."""
