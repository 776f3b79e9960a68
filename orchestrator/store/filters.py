"""Filters of list endpoints, as a closed table of conditions: no SQL is made from a user's text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """`field operator value`; operators: exact, in, startswith, contains, gt, gte, lt, lte.

    `has` is for fields that hold several values: one of them is the value.
    """

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
    "has": "${n} = ANY({column})",
}


Columns = Mapping[str, str | tuple[str, ...]]
"""The SQL of each field; a field of several columns fits when one of them does."""


def where(filters: Sequence[Filter], columns: Columns, *, first: int) -> tuple[str, list[object]]:
    """The AND-ed conditions, each with its own `$n` from `first` on, and their arguments.

    Raises KeyError for a field or operator outside the tables: the API must have refused it before.
    """
    parts, arguments = ["true"], list[object]()
    for number, each in enumerate(filters, start=first):
        column = columns[each.field]
        fitting = [
            _CONDITIONS[each.operator].format(column=one, n=number)
            for one in ((column,) if isinstance(column, str) else column)
        ]
        parts.append(fitting[0] if len(fitting) == 1 else f"({' OR '.join(fitting)})")
        arguments.append(each.value)
    return " AND ".join(parts), arguments
