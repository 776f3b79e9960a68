"""Stack-file keys and API attributes: one into the other (spec 4.9)."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from app.wire.reading import Reading
from app.wire.service_input import WIRE_INPUT
from domain.service import Service
from domain.spec import CrashPolicy, PortSpec, ServiceSpec, Transport

_PORT = re.compile(r"^(?:(?P<outer>\d{1,5}):)?(?P<inner>\d{1,5})(?:/(?P<protocol>tcp|udp))?$", re.IGNORECASE)
_SIZE = re.compile(r"^(?P<number>\d{1,15})(?P<unit>[bkmg]?)b?$", re.IGNORECASE)
_UNITS = {"": 1, "b": 1, "k": 1024, "m": 1024**2, "g": 1024**3}
_NEVER = {"build", "external_links", "env_file"}
_POLICIES = {"no": "OFF", "false": "OFF", "off": "OFF", "always": "ALWAYS"}

Convert = Callable[[Reading, Any, str, dict[str, Any]], None]


def to_api(reading: Reading, entry: Mapping[str, Any], path: str) -> dict[str, Any]:
    """One service in API attributes, from either kind of keys or both. An unknown key is a complaint: what a
    deployment file says and nobody does is worse than an error."""
    out: dict[str, Any] = {key: value for key, value in entry.items() if key in WIRE_INPUT and key not in _FILE}
    for key, value in entry.items():
        if key in _FILE:
            if value is not None or key in {"restart", "environment"}:
                _FILE[key](reading, value, f"{path}.{key}", out)
        elif key in _NEVER:
            reading.fail(f"{path}.{key}", "is not available: a service is made from an image that a registry has")
        elif key not in WIRE_INPUT:
            reading.fail(f"{path}.{key}", "is no key of a stack file")
    return out


def _renamed(name: str) -> Convert:
    def convert(_reading: Reading, value: Any, _path: str, out: dict[str, Any]) -> None:
        out[name] = value

    return convert


def _together(out: dict[str, Any], name: str) -> list[Any]:
    """The attribute's list, to which a key of the file adds. What is no list is left for its own complaint."""
    given = out.get(name)
    if given is not None and not isinstance(given, list):
        return []
    found: list[Any] = [*(given or ())]
    out[name] = found
    return found


def _environment(reading: Reading, value: Any, path: str, out: dict[str, Any]) -> None:
    pairs: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        pairs = list(value.items())
    elif isinstance(value, list):
        pairs = [(each.partition("=")[0], each.partition("=")[2]) for each in value if isinstance(each, str)]
        if len(pairs) != len(value):
            reading.fail(path, "must be a map, or a list of NAME=value")
    elif value is not None:
        reading.fail(path, "must be a map, or a list of NAME=value")
    out["container_envvars"] = [{"key": key, "value": "" if each is None else each} for key, each in pairs]


def _links(reading: Reading, value: Any, path: str, out: dict[str, Any]) -> None:
    found = _together(out, "linked_to_service")
    for index, item in enumerate(reading.items(value, path, most=100)):
        text = reading.text(item, f"{path}[{index}]", most=200)
        service, _, alias = text.partition(":")
        found.append({"to_service": service, "name": alias or service.partition(".")[0]})


def _ports(*, published: bool) -> Convert:
    def convert(reading: Reading, value: Any, path: str, out: dict[str, Any]) -> None:
        found = _together(out, "container_ports")
        for index, item in enumerate(reading.items(value, path, most=200)):
            whole = isinstance(item, int) and not isinstance(item, bool)
            match = _PORT.fullmatch(str(item).strip()) if whole or isinstance(item, str) else None
            numbers = [int(match[name]) for name in ("outer", "inner") if match[name]] if match else []
            good = match is not None and all(1 <= number <= 65535 for number in numbers)
            if match is None or not good or (match["outer"] and not published):
                forms = '"80", "443:443" or "53:53/udp"' if published else '"80" or "90/udp"'
                reading.fail(f"{path}[{index}]", f"must be a port such as {forms}, in quotation marks")
                continue
            port = {"protocol": (match["protocol"] or "tcp").lower(), "inner_port": int(match["inner"])}
            outer = {"outer_port": int(match["outer"])} if match["outer"] else {}
            found.append({**port, **outer, "published": published})

    return convert


def _volumes(reading: Reading, value: Any, path: str, out: dict[str, Any]) -> None:
    found = _together(out, "bindings")
    for index, item in enumerate(reading.items(value, path, most=100)):
        parts = reading.text(item, f"{path}[{index}]", most=2048).split(":")
        if len(parts) > 3 or (len(parts) == 3 and parts[2] not in {"ro", "rw"}):
            reading.fail(f"{path}[{index}]", "must be /data, /host:/data or /host:/data:ro")
            continue
        host, inside = (parts[0], parts[1]) if len(parts) > 1 else (None, parts[0])
        found.append({"host_path": host, "container_path": inside, "rewritable": parts[2:] != ["ro"]})


def _volumes_from(reading: Reading, value: Any, path: str, out: dict[str, Any]) -> None:
    found = _together(out, "bindings")
    for index, item in enumerate(reading.items(value, path, most=100)):
        text = reading.text(item, f"{path}[{index}]", most=200)
        found.append({"volumes_from": text.removesuffix(":ro"), "rewritable": not text.endswith(":ro")})


def _tags(_reading: Reading, value: Any, _path: str, out: dict[str, Any]) -> None:
    out["tags"] = [value] if isinstance(value, str) else value


def _policy(name: str) -> Convert:
    def convert(_reading: Reading, value: Any, _path: str, out: dict[str, Any]) -> None:
        # YAML makes a boolean of a bare `no`.
        text = "no" if value in (None, False) else str(value).strip().lower()
        out[name] = _POLICIES.get(text, text)

    return convert


def _size(name: str) -> Convert:
    def convert(reading: Reading, value: Any, path: str, out: dict[str, Any]) -> None:
        whole = isinstance(value, int) and not isinstance(value, bool)
        match = _SIZE.fullmatch(str(value).strip()) if whole or isinstance(value, str) else None
        if match is None:
            reading.fail(path, "must be a size such as 512m, 1g or 100000k")
            return
        out[name] = math.ceil(int(match["number"]) * _UNITS[match["unit"].lower()] / 1024**2)

    return convert


def _labels(reading: Reading, value: Any, path: str, out: dict[str, Any]) -> None:
    if isinstance(value, list):
        texts = [each for each in value if isinstance(each, str)]
        if len(texts) != len(value):
            reading.fail(path, "must be a map, or a list of NAME=value")
        out["labels"] = {each.partition("=")[0]: each.partition("=")[2] for each in texts}
    else:
        out["labels"] = value


_FILE: dict[str, Convert] = {
    "command": _renamed("run_command"),
    "environment": _environment,
    "links": _links,
    "ports": _ports(published=True),
    "expose": _ports(published=False),
    "volumes": _volumes,
    "volumes_from": _volumes_from,
    "tags": _tags,
    "restart": _policy("autorestart"),
    "autorestart": _policy("autorestart"),
    "autodestroy": _policy("autodestroy"),
    "autoreplace": _policy("autoreplace"),
    "mem_limit": _size("memory"),
    "memswap_limit": _size("memory_swap"),
    "labels": _labels,
}
"""Keys whose form differs from the API's. The others have the API's name and form."""

_SAME = (
    "sequential_deployment", "roles", "autoredeploy", "privileged", "net", "pid", "dns", "dns_search", "cap_add",
    "cap_drop", "devices", "extra_hosts", "security_opt", "cgroup_parent", "working_dir", "user", "hostname",
    "domainname", "mac_address", "cpu_shares", "cpuset", "read_only", "stdin_open", "tty", "entrypoint",
)  # fmt: skip
_RESTART = {CrashPolicy.OFF: "no", CrashPolicy.ON_FAILURE: "on-failure", CrashPolicy.ALWAYS: "always"}


def to_file(service: Service, names: Mapping[Any, str]) -> dict[str, Any]:
    """A service in stack-file keys, what is default left out. `names`: linked services as a file names them."""
    spec, plain = service.spec, ServiceSpec(image="none")
    out: dict[str, Any] = {"image": spec.image}
    if service.target != 1:
        out["target_num_containers"] = service.target
    if spec.run_command:
        out["command"] = spec.run_command
    if spec.env:
        out["environment"] = dict(spec.env)
    if spec.links:
        out["links"] = [f"{names[link.to_service]}:{link.name}" for link in spec.links if link.to_service in names]
    published = [_port_text(port) for port in spec.ports if port.published]
    exposed = [_port_text(port) for port in spec.ports if not port.published]
    out |= {key: value for key, value in (("ports", published), ("expose", exposed)) if value}
    mounts = [
        ":".join(part for part in (each.host_path, each.container_path, None if each.rewritable else "ro") if part)
        for each in spec.bindings
        if each.container_path
    ]
    origins = [
        names[each.volumes_from] + ("" if each.rewritable else ":ro")
        for each in spec.bindings
        if each.volumes_from in names
    ]
    out |= {key: value for key, value in (("volumes", mounts), ("volumes_from", origins)) if value}
    if spec.tags:
        out["tags"] = list(spec.tags)
    if spec.autorestart is not CrashPolicy.OFF:
        out["restart"] = _RESTART[spec.autorestart]
    for key, policy in (("autoreplace", spec.autoreplace), ("autodestroy", spec.autodestroy)):
        if policy is not CrashPolicy.OFF:
            out[key] = policy.value.lower().replace("_", "-")
    if spec.deployment_strategy is not plain.deployment_strategy:
        out["deployment_strategy"] = spec.deployment_strategy.value.lower()
    if spec.labels:
        out["labels"] = dict(spec.labels)
    for key, size in (("mem_limit", spec.memory), ("memswap_limit", spec.memory_swap)):
        if size:
            out[key] = f"{size}m"
    for key in _SAME:
        value = getattr(spec, key)
        if value != getattr(plain, key):
            out[key] = list(value) if isinstance(value, tuple) else value
    return out


def _port_text(port: PortSpec) -> str:
    outer = f"{port.outer_port}:" if port.outer_port else ""
    return f"{outer}{port.inner_port}" + ("/udp" if port.protocol is Transport.UDP else "")
