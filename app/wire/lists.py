"""Query strings of list endpoints and the envelope of their answers (spec 1.8, 1.9)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from app.wire.scalars import API, parse_date, uri, uuid_of
from domain.action import ActionState
from domain.container import ContainerState
from domain.errors import Invalid
from domain.node import NodeState
from domain.service import ServiceState
from domain.stack import StackState
from domain.volume import VolumeState
from orchestrator.store.filters import Filter

DEFAULT_LIMIT, MOST = 25, 100
MOST_FILTERS = 20
"""Each is a condition of a statement, which is planned before it is known who asks (`accounts.Along`)."""

_TEXT = ("exact", "in", "startswith", "contains")
_DATE = ("exact", "gt", "gte", "lt", "lte")
_IGNORED = frozenset({"limit", "offset", "page", "include_related", "format"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A list request: which rows, and which page of them."""

    filters: tuple[Filter, ...]
    limit: int
    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A filterable field: its name in the store, its operators, and how a text becomes its value (None: no match).

    A value that is a list means: one of them. `several`: the object has more than one, and one of them must fit.
    `form`: what its values look like, for who sends something else.
    """

    name: str
    operators: tuple[str, ...]
    read: Callable[[str], Any]
    several: bool = False
    form: str = "another text"


def _plain(text: str) -> str:
    return text.replace("\x00", "")


def _text(name: str) -> Field:
    return Field(name=name, operators=_TEXT, read=_plain)


def _states(kind: Any) -> Field:
    names = {state.value.lower(): state.value for state in kind}
    form = f"one of {', '.join(names.values())}"
    return Field(name="state", operators=("exact", "in"), read=lambda text: names.get(text.strip().lower()), form=form)


def _reference(name: str, kind: str, *, several: bool = False) -> Field:
    form = f"a uuid, or the URI of a {kind}"
    return Field(name=name, operators=("exact",), read=lambda text: uuid_of(text, kind), several=several, form=form)


def _uuid() -> Field:
    return Field(name="uuid", operators=("exact", "in", "startswith"), read=_plain, form="a uuid")


def _date(name: str) -> Field:
    form = "a date such as 2026-11-25, or one with a time such as 2026-11-25T08:30:00Z"
    return Field(name=name, operators=_DATE, read=parse_date, form=form)


_WORDS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def _flag(name: str) -> Field:
    return Field(
        name=name, operators=("exact",), read=lambda text: _WORDS.get(text.strip().lower()), form="true or false"
    )


def _tags() -> Field:
    return Field(name="tags", operators=("exact",), read=_plain, several=True)


def _host(text: str) -> str:
    """The host in a registry's URI, or a bare one."""
    return _plain(text).strip().split(f"{API}/registry/", 1)[-1].strip("/")


_KINDS = ("service", "container", "stack", "node", "nodecluster", "volume", "volumegroup", "action")


def _object(text: str) -> str | list[str]:
    """The URI of what an action acts on, also from an absolute URL; a bare uuid may be of any kind."""
    try:
        ident = UUID(text.strip())
    except ValueError:
        path = _plain(text).strip()
        path = path[path.find(f"{API}/") :] if f"{API}/" in path else path
        return path if path.endswith("/") else f"{path}/"
    return [uri(kind, ident) for kind in _KINDS]


def _audited(text: str) -> str:
    """The URI of what a row of the audit log is about, also from an absolute URL."""
    path = _plain(text).strip()
    return path[path.find(f"{API}/") :] if f"{API}/" in path else path


def _code(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 5 else None


_NAMED = {"uuid": _uuid(), "name": _text("name")}
SERVICES = {
    **_NAMED, "state": _states(ServiceState), "unique_name": _text("unique_name"), "image_name": _text("image_name"),
    "stack": _reference("stack", "stack"), "stack__name": _text("stack__name"), "tags": _tags(),
}  # fmt: skip
CONTAINERS = {
    **_NAMED, "state": _states(ContainerState), "unique_name": _text("unique_name"),
    "image_name": _text("image_name"),
    "service": _reference("service", "service"), "service__name": _text("service__name"),
    "node": _reference("node", "node"),
    "stack": _reference("stack", "stack"), "stack__name": _text("stack__name"),
    "service__stack": _reference("stack", "stack"), "service__stack__name": _text("stack__name"),
}  # fmt: skip
ACTIONS = {
    "uuid": _uuid(), "state": _states(ActionState), "action": _text("action"), "method": _text("method"),
    "object": Field(name="object", operators=("exact", "in"), read=_object),
    "start_date": _date("start_date"), "end_date": _date("end_date"),
}  # fmt: skip
NODES = {
    **_NAMED, "state": _states(NodeState), "nickname": _text("nickname"),
    "external_fqdn": _text("external_fqdn"), "tags": _tags(), "docker_version": _text("docker_version"),
    "node_cluster": _reference("node_cluster", "nodecluster"), "node_type": _text("node_type"),
    "region": _text("region"),
}  # fmt: skip
USERS = {"uuid": _uuid(), "username": _text("username"), "role": _text("role"), "enabled": _flag("enabled")}
KEYS = {**_NAMED, "scope": _text("scope")}
AUDIT = {
    "uuid": _uuid(), "user": _text("user"), "via": _text("via"), "ip": _text("ip"), "action": _text("action"),
    "method": _text("method"), "status": Field(name="status", operators=_DATE, read=_code, form="a number such as 404"),
    "key": _reference("key", "auth/key"),
    "object": Field(name="object", operators=("exact", "in", "startswith"), read=_audited),
    "date": _date("date"),
}  # fmt: skip
QUEUE = {
    **_NAMED, "user": _text("user"), "due": _flag("due"), "blocked": _flag("blocked"), "paused": _flag("paused"),
}  # fmt: skip
STACKS = {**_NAMED, "state": _states(StackState)}
VOLUMES = {
    "uuid": _uuid(), "state": _states(VolumeState), "node": _reference("node", "node"),
    "volume_group": _reference("volume_group", "volumegroup"),
    "containers": _reference("containers", "container", several=True),
}  # fmt: skip
VOLUME_GROUPS = {
    **_NAMED, "state": _states(VolumeState), "services": _reference("services", "service", several=True),
    "volumes": _reference("volumes", "volume", several=True),
}  # fmt: skip
IMAGES = {
    "name": _text("name"), "is_private_image": _flag("is_private_image"), "is_user_image": _flag("is_user_image"),
    "jumpstart": _flag("jumpstart"), "starred": _flag("starred"), "base_image": _flag("base_image"),
    "registry": Field(name="registry", operators=("exact",), read=_host),
    "categories__name": _text("categories__name"),
}  # fmt: skip
TRIGGERS = {**_NAMED, "operation": Field(name="operation", operators=("exact",), read=lambda text: text.upper())}
TAGS = {"name": _text("name"), "origin": _text("origin")}
REGISTRIES = {
    **_NAMED, "host": _text("host"), "is_tutum_registry": _flag("is_tutum_registry"), "is_ssl": _flag("is_ssl"),
}  # fmt: skip
# What only a cloud has: nothing is there, and so nothing fits; but the filters are known (spec 4.7).
CLOUD = {
    **_NAMED,
    **{name: _text(name) for name in ("state", "provider", "region", "regions", "availability_zones", "node_type",
                                      "available", "label", "namespace")},
}  # fmt: skip


def read_query(params: Sequence[tuple[str, str]], known: Mapping[str, Field]) -> Query:
    """The list request in a query string. An unknown filter is an error: ignoring it would act on other objects."""
    errors: dict[str, str] = {}
    filters: list[Filter] = []
    for key, text in params:
        if key in _IGNORED or text == "":
            continue
        # `stack__name` is a field of its own, `stack__name__in` that field with an operator.
        name, operator = (key, "exact") if key in known else (key.rpartition("__")[0], key.rpartition("__")[2])
        field = known.get(name)
        if field is None or operator not in field.operators:
            errors[key] = f"is no filter here; filters are {', '.join([*sorted(known), 'limit and offset'])}"
            continue
        made = _filter(field, operator, text)
        if len(filters) == MOST_FILTERS:
            errors[key] = f"is one filter too many: a list takes {MOST_FILTERS}"
        elif made is None:
            errors[key] = f"must be {field.form}, not {text[:60]}"
        else:
            filters.append(made)
    limit = _number(dict(params).get("limit"), "limit", DEFAULT_LIMIT, 1, errors)
    offset = _number(dict(params).get("offset"), "offset", 0, 0, errors)
    if errors:
        raise Invalid(errors)
    return Query(filters=tuple(filters), limit=min(limit, MOST), offset=offset)


def _filter(field: Field, operator: str, text: str) -> Filter | None:
    whole_uuid = field.name == "uuid" and operator in {"exact", "in"}
    read: Callable[[str], Any] = (lambda part: uuid_of(part, "service")) if whole_uuid else field.read
    if operator == "in":
        values = [read(part) for part in text.split(",")]
        if any(isinstance(each, list) for each in values):
            values = [one for each in values for one in (each if isinstance(each, list) else [each])]
        return None if None in values else Filter(field=field.name, operator=operator, value=values)
    value = read(text)
    if value is None:
        return None
    if operator == "exact" and (field.several or isinstance(value, list)):
        operator = "has" if field.several else "in"
    return Filter(field=field.name, operator=operator, value=value)


def _number(text: str | None, name: str, default: int, low: int, errors: dict[str, str]) -> int:
    if text in (None, ""):
        return default
    if text is None or not text.isascii() or not text.isdigit() or int(text[:12]) < low:
        errors[name] = f"must be a whole number from {low}"
        return default
    return min(int(text[:12]), 2**31 - 1)


def _same(has: Any, value: Any) -> bool:
    return bool(has == (str(value) if isinstance(value, UUID) else value))


_KEPT: dict[str, Callable[[Any, Any], bool]] = {
    "exact": _same,
    "in": lambda has, value: any(_same(has, each) for each in value),
    "startswith": lambda has, value: str(has).startswith(value),
    "contains": lambda has, value: value in str(has),
}


def page_of(objects: Sequence[dict[str, Any]], query: Query) -> tuple[list[dict[str, Any]], int]:
    """The page of a list that is made in memory, and how many fit; its filters are attributes of the objects."""
    fitting = [
        each for each in objects if all(_KEPT[one.operator](each[one.field], one.value) for one in query.filters)
    ]
    return fitting[query.offset : query.offset + query.limit], len(fitting)


def envelope(
    path: str, params: Sequence[tuple[str, str]], query: Query, total: int, objects: list[Any]
) -> dict[str, Any]:
    """The five keys of `meta`, and the objects. `next` and `previous` are paths that keep the filters."""
    kept = [(key, value) for key, value in params if key not in {"limit", "offset"}]

    def page(offset: int) -> str:
        return f"{path}?{urlencode([('limit', query.limit), ('offset', offset), *kept])}"

    after = query.offset + query.limit
    return {
        "meta": {
            "limit": query.limit,
            "offset": query.offset,
            "total_count": total,
            "previous": page(max(query.offset - query.limit, 0)) if query.offset else None,
            "next": page(after) if after < total else None,
        },
        "objects": objects,
    }
