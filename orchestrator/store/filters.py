"""Filters of list endpoints, as a closed table of conditions: no SQL is made from a user's text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """`field operator value`; operators: exact, in, startswith, contains, gt, gte, lt, lte."""

    field: str
    operator: str
    value: object


_CONDITIONS = {
    "exact": "{column} = ${n}",
    "in": "{column} = ANY(${n})",
    "startswith": "starts_with({column}::text, ${n})",
    "contains": "strpos({column}::text, ${n}) > 0",
    "gt": "{column} > ${n}",
    "gte": "{column} >= ${n}",
    "lt": "{column} < ${n}",
    "lte": "{column} <= ${n}",
}


def where(filters: Sequence[Filter], columns: Mapping[str, str], *, first: int) -> tuple[str, list[object]]:
    """The AND-ed conditions, each with its own `$n` from `first` on, and their arguments.

    Raises KeyError for a field or operator outside the tables: the API must have refused it before.
    """
    parts, arguments = ["true"], list[object]()
    for number, each in enumerate(filters, start=first):
        parts.append(_CONDITIONS[each.operator].format(column=columns[each.field], n=number))
        arguments.append(each.value)
    return " AND ".join(parts), arguments
