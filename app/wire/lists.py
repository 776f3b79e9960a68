"""Query strings of list endpoints and the envelope of their answers (spec 1.8, 1.9)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from app.wire.scalars import parse_date, uuid_of
from domain.action import ActionState
from domain.container import ContainerState
from domain.errors import Invalid
from domain.node import NodeState
from domain.service import ServiceState
from orchestrator.store.filters import Filter

DEFAULT_LIMIT, MOST = 25, 100
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
    """A filterable field: its name in the store, its operators, and how a text becomes its value (None: no match)."""

    name: str
    operators: tuple[str, ...]
    read: Callable[[str], Any]


def _text(name: str) -> Field:
    return Field(name=name, operators=_TEXT, read=lambda text: text.replace("\x00", ""))


def _states(kind: Any) -> Field:
    names = {state.value.lower(): state.value for state in kind}
    return Field(name="state", operators=("exact", "in"), read=lambda text: names.get(text.strip().lower()))


def _reference(name: str, kind: str) -> Field:
    return Field(name=name, operators=("exact",), read=lambda text: uuid_of(text, kind))


def _uuid() -> Field:
    return Field(name="uuid", operators=("exact", "in", "startswith"), read=lambda text: text.replace("\x00", ""))


SERVICES = {
    "uuid": _uuid(), "state": _states(ServiceState), "name": _text("name"), "unique_name": _text("unique_name"),
    "image_name": _text("image_name"),
}  # fmt: skip
CONTAINERS = {
    "uuid": _uuid(), "state": _states(ContainerState), "name": _text("name"), "unique_name": _text("unique_name"),
    "service": _reference("service", "service"), "node": _reference("node", "node"),
}  # fmt: skip
ACTIONS = {
    "uuid": _uuid(), "state": _states(ActionState), "object": _text("object"), "action": _text("action"),
    "method": _text("method"),
    "start_date": Field(name="start_date", operators=_DATE, read=parse_date),
    "end_date": Field(name="end_date", operators=_DATE, read=parse_date),
}  # fmt: skip
NODES = {"uuid": _uuid(), "state": _states(NodeState)}


def read_query(params: Sequence[tuple[str, str]], known: Mapping[str, Field]) -> Query:
    """The list request in a query string. An unknown filter is an error: ignoring it would act on other objects."""
    errors: dict[str, str] = {}
    filters = []
    for key, text in params:
        if key in _IGNORED or text == "":
            continue
        name, _, operator = key.partition("__")
        field = known.get(name)
        if field is None or (operator or "exact") not in field.operators:
            options = ", ".join(sorted(f"{each.name}" for each in known.values()))
            errors[key] = f"is no filter here; filters are {options}, limit and offset"
            continue
        made = _filter(field, operator or "exact", text)
        if made is None:
            errors[key] = f"has a value that {name} never has: {text[:60]}"
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
        return None if None in values else Filter(field=field.name, operator=operator, value=values)
    value = read(text)
    return None if value is None else Filter(field=field.name, operator=operator, value=value)


def _number(text: str | None, name: str, default: int, low: int, errors: dict[str, str]) -> int:
    if text in (None, ""):
        return default
    if text is None or not text.isascii() or not text.isdigit() or int(text[:12]) < low:
        errors[name] = f"must be a whole number from {low}"
        return default
    return min(int(text[:12]), 2**31 - 1)


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
