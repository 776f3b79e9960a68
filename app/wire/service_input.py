"""The body of a service's create and update, read into a definition (spec 1.5, 2.2 to 2.12, 2.16).

All complaints of a body are collected. Known read-only keys and unknown ones are ignored: clients echo what
they were given.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any

from app.wire import docker_input
from app.wire.reading import Reading, storable
from domain.asked import Asked, AskedLink
from domain.errors import Invalid
from domain.image import default_service_name, parse
from domain.spec import CrashPolicy, Env, PortSpec, ServiceSpec, Strategy, Transport

NAME = re.compile(r"^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$")
LINK_NAME = re.compile(r"^[A-Za-z0-9_-]{1,63}$")
TAG = re.compile(r"^[A-Za-z0-9._=-]{1,64}$")
DEFAULT_TARGET = 1
"""Of a service for every node there is none: its number follows the nodes."""
ENTRY_LIMIT = 131_000
"""Bytes of `name=value`: from 131,072 on the kernel refuses to start the process (RELIABILITY S11)."""
ENVIRONMENT_LIMIT = 1_000_000
RESTARTS = [CrashPolicy.OFF, CrashPolicy.ON_FAILURE, CrashPolicy.ALWAYS]


def read_create(body: Any, *, most_containers: int) -> Asked:
    """The definition in a create's body. Raises Invalid with every bad field."""
    reading = Reading()
    data = _object(body)
    image = data.get("image")
    if image in (None, ""):
        reading.fail("image", "is required: the image to run, such as tutum/hello-world")
    changes = _changes(reading, data)
    name = data.get("name")
    if name in (None, ""):
        reference = parse(image) if isinstance(image, str) else None
        name = (default_service_name(reference) if reference else "") or "service"
    else:
        name = _name(reading, name)
    target = _target(reading, data, most_containers)
    links = _links(reading, data)
    spec = replace(ServiceSpec(image="none"), **changes)
    _check_policies(reading, spec)
    if reading.errors:
        raise Invalid(reading.errors)
    return Asked(name=name, target=DEFAULT_TARGET if target is None else target, links=links or (), spec=spec)


def read_patch(body: Any, present: ServiceSpec, name: str, *, most_containers: int) -> Asked:
    """The definition after an update; absent keys stay, null gives the default. Raises Invalid."""
    reading = Reading()
    data = _object(body)
    if data.get("name") not in (None, name):
        reading.fail("name", "cannot be changed: containers and links are named after it; use nickname")
    if "image" in data and data["image"] in (None, ""):
        reading.fail("image", "cannot be empty")
    changes = _changes(reading, data)
    links = _links(reading, data)
    spec = replace(present, **changes)
    target = _target(reading, data, most_containers)
    if target is None and "target_num_containers" in data and spec.deployment_strategy is not Strategy.EVERY_NODE:
        target = DEFAULT_TARGET
    _check_policies(reading, spec)
    if reading.errors:
        raise Invalid(reading.errors)
    return Asked(name=None, target=target, links=links, spec=spec)


def _object(body: Any) -> Mapping[str, Any]:
    if body is None:
        return {}
    if not isinstance(body, dict):
        raise Invalid({"body": "must be a JSON object"})
    return body


def _name(reading: Reading, value: Any) -> str:
    text = reading.text(value, "name", most=63)
    if text and not NAME.fullmatch(text):
        reading.fail("name", "must be 1 to 63 letters, digits and hyphens, beginning and ending with no hyphen")
    return text


def _target(reading: Reading, data: Mapping[str, Any], most: int) -> int | None:
    value = data.get("target_num_containers")
    return None if value is None else reading.integer(value, "target_num_containers", low=0, high=most)


def _image(reading: Reading, value: Any) -> str:
    text = reading.text(value, "image", most=255)
    reference = parse(text)
    if text and reference is None:
        reading.fail("image", "is no image reference: it reads [registry/]name[:tag], in lower case")
    return str(reference)


def _env(reading: Reading, value: Any) -> Env:
    out: dict[str, str] = {}
    total = 0
    for index, item in enumerate(reading.items(value, "container_envvars", most=1000)):
        path = f"container_envvars[{index}]"
        entry = reading.mapping(item, path)
        for part in ("key", "value"):
            if part not in entry:
                reading.fail(f"{path}.{part}", "is required")
        key, raw = entry.get("key", "x"), entry.get("value", "")
        if raw is None:
            raw = ""
        if isinstance(raw, bool):
            raw = "true" if raw else "false"
        text = str(raw) if isinstance(raw, int | float) else reading.text(raw, f"{path}.value", most=ENTRY_LIMIT)
        if not isinstance(key, str) or not key or "=" in key or not storable(key):
            reading.fail(f"{path}.key", "must be a name without = and NUL")
            continue
        size = len(key.encode("utf-8", "replace")) + len(text.encode("utf-8", "replace")) + 1
        total += size
        if size > ENTRY_LIMIT:
            reading.fail(f"{path}.value", f"must have at most {ENTRY_LIMIT} bytes together with its name")
        out.pop(key, None)
        out[key] = text
    if total > ENVIRONMENT_LIMIT:
        reading.fail("container_envvars", f"must have at most {ENVIRONMENT_LIMIT} bytes in all")
    return tuple(out.items())


def _ports(reading: Reading, value: Any) -> tuple[PortSpec, ...]:
    found: list[PortSpec] = []
    for index, item in enumerate(reading.items(value, "container_ports", most=200)):
        path = f"container_ports[{index}]"
        entry = reading.mapping(item, path)
        port = _port(reading, entry, path) if isinstance(item, dict) else None
        if port is not None:
            found.append(port)
    return _merged(reading, found)


def _port(reading: Reading, entry: Mapping[str, Any], path: str) -> PortSpec | None:
    for part in ("protocol", "inner_port"):
        if entry.get(part) is None:
            reading.fail(f"{path}.{part}", "is required")
    protocol = reading.choice(entry.get("protocol") or "tcp", f"{path}.protocol", Transport)
    inner = reading.integer(entry.get("inner_port", 1), f"{path}.inner_port", low=1, high=65535)
    outer = entry.get("outer_port")
    dynamic = outer in (None, "", 0, "0")
    outer = None if dynamic else reading.integer(outer, f"{path}.outer_port", low=1, high=65535)
    published = outer is not None
    if entry.get("published") is not None:
        published = reading.boolean(entry["published"], f"{path}.published")
        if outer is not None and not published:
            reading.fail(f"{path}.published", "cannot be false with an outer_port: leave one of the two out")
    if protocol is None or inner is None:
        return None
    return PortSpec(protocol=protocol, inner_port=inner, outer_port=outer, published=published)


def _merged(reading: Reading, found: list[PortSpec]) -> tuple[PortSpec, ...]:
    """One entry a mapping; of an inner port named twice, the published one (spec 2.6)."""
    outer = [(port.protocol, port.outer_port) for port in found if port.outer_port is not None]
    for index, port in enumerate(found):
        if port.outer_port is not None and outer.count((port.protocol, port.outer_port)) > 1:
            reading.fail(f"container_ports[{index}].outer_port", f"{port.outer_port} is given twice")
    out: list[PortSpec] = []
    for port in found:
        same = [each for each in found if (each.protocol, each.inner_port) == (port.protocol, port.inner_port)]
        best = max(same, key=lambda each: (each.outer_port is not None, each.published))
        if (port.outer_port is not None or port == best) and port not in out:
            out.append(port)
    return tuple(out)


def _tags(reading: Reading, value: Any) -> tuple[str, ...]:
    out: list[str] = []
    for index, item in enumerate(reading.items(value, "tags", most=100)):
        name = item.get("name") if isinstance(item, dict) else item
        if not isinstance(name, str) or not TAG.fullmatch(name):
            reading.fail(f"tags[{index}]", "must be a name of 1 to 64 letters, digits, dots, hyphens, _ and =")
        elif name not in out:
            out.append(name)
    return tuple(out)


def _roles(reading: Reading, value: Any) -> tuple[str, ...]:
    items = reading.items(value, "roles", most=10)
    if any(item != "global" for item in items):
        reading.fail("roles", "must be a list of roles; the only one is global")
        return ()
    return ("global",) if items else ()


def _links(reading: Reading, data: Mapping[str, Any]) -> tuple[AskedLink, ...] | None:
    if "linked_to_service" not in data:
        return None
    if data["linked_to_service"] is None:
        return ()
    out = []
    for index, item in enumerate(reading.items(data["linked_to_service"], "linked_to_service", most=100)):
        path = f"linked_to_service[{index}]"
        entry = reading.mapping(item, path)
        target, name = entry.get("to_service"), entry.get("name")
        if not isinstance(target, str) or not target or not storable(target):
            reading.fail(f"{path}.to_service", "is required: the resource URI, uuid or name of a service")
            continue
        if name in (None, ""):
            name = None
        elif not isinstance(name, str) or not LINK_NAME.fullmatch(name):
            reading.fail(f"{path}.name", "must be 1 to 63 letters, digits, hyphens and underscores")
            continue
        out.append(AskedLink(to_service=target, name=name, path=path))
    return tuple(out)


def _check_policies(reading: Reading, spec: ServiceSpec) -> None:
    if spec.autorestart is CrashPolicy.ALWAYS and spec.autodestroy is not CrashPolicy.OFF:
        reading.fail("autodestroy", "must be OFF when autorestart is ALWAYS: it could never apply")
    if spec.memory_swap is not None and (spec.memory is None or spec.memory_swap < spec.memory):
        reading.fail("memory_swap", "needs memory, and must not be below it")
    if spec.net == "host" and any(port.published for port in spec.ports):
        reading.fail("container_ports", "cannot be published with net host: its ports are the host's already")


def _sized(low: int) -> Callable[[Reading, Any, str], int | None]:
    def read(reading: Reading, value: Any, path: str) -> int | None:
        if value in (0, "0", ""):
            return None
        return reading.integer(value, path, low=low, high=2**31 - 1)

    return read


def _optional_text(reading: Reading, value: Any, path: str) -> str | None:
    return reading.text(value, path, most=255) or None


def _restarts(reading: Reading, value: Any, path: str) -> CrashPolicy:
    return reading.choice(value, path, CrashPolicy, RESTARTS) or CrashPolicy.OFF


def _strategy(reading: Reading, value: Any, path: str) -> Strategy:
    if isinstance(value, str) and value.upper() == "BALANCE":
        return Strategy.EMPTIEST_NODE
    return reading.choice(value, path, Strategy) or Strategy.EMPTIEST_NODE


_READERS: dict[str, tuple[str, Callable[[Reading, Any, str], Any]]] = {
    "image": ("image", lambda reading, value, _: _image(reading, value)),
    "container_envvars": ("env", lambda reading, value, _: _env(reading, value)),
    "container_ports": ("ports", lambda reading, value, _: _ports(reading, value)),
    "tags": ("tags", lambda reading, value, _: _tags(reading, value)),
    "roles": ("roles", lambda reading, value, _: _roles(reading, value)),
    "entrypoint": ("entrypoint", Reading.command),
    "run_command": ("run_command", Reading.command),
    "autorestart": ("autorestart", _restarts),
    "autoreplace": ("autoreplace", _restarts),
    "autodestroy": ("autodestroy", lambda r, v, path: r.choice(v, path, CrashPolicy) or CrashPolicy.OFF),
    "deployment_strategy": ("deployment_strategy", _strategy),
    "cpu_shares": ("cpu_shares", _sized(2)),
    "memory": ("memory", _sized(6)),
    "memory_swap": ("memory_swap", _sized(6)),
    "nickname": ("nickname", _optional_text),
    "working_dir": ("working_dir", _optional_text),
    "user": ("user", _optional_text),
    **{
        name: (name, Reading.boolean)
        for name in (
            "sequential_deployment",
            "privileged",
            "autoredeploy",
            "tty",
            "stdin_open",
            "read_only",
            "single_writer",
        )
    },
    "lost_after": ("lost_after", lambda reading, value, path: reading.integer(value, path, low=1, high=2_592_000)),
    **{name: (name, read) for name, read in docker_input.READERS.items()},
}
"""Wire name to (field of ServiceSpec, reader); links are read apart, since their targets must be looked up."""
WIRE_INPUT = frozenset(_READERS) | {"name", "target_num_containers", "linked_to_service"}
"""What a body may say of a service."""
WIRE_FIELDS = frozenset(field for field, _ in _READERS.values()) | {"links"}
_DEFAULTS = {field.name: field.default for field in fields(ServiceSpec)}


def _changes(reading: Reading, data: Mapping[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for wire, (field, read) in _READERS.items():
        if wire not in data:
            continue
        value = data[wire]
        if value is None:
            if wire != "image":
                out[field] = _DEFAULTS[field]
        elif wire != "image" or value != "":
            out[field] = read(reading, value, wire)
    return out
