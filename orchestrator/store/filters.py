"""Filters of list endpoints, as a closed table of conditions: no SQL is made from a user's text."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """A field whose `exact` is a condition of its own on `${n}`, which goes by an index; other operators look at each
    row's columns.
    """

    exact: str
    columns: tuple[str, ...]


Columns = Mapping[str, str | tuple[str, ...] | Looked]
"""The SQL of each field; a field of several columns fits when one of them does."""

_LEAST, _MOST = (f"{c * 8}-{c * 4}-{c * 4}-{c * 4}-{c * 12}" for c in "0f")


def where(filters: Sequence[Filter], columns: Columns, *, first: int) -> tuple[str, list[object]]:
    """The AND-ed conditions, each with its own `$n` from `first` on, and their arguments.

    Raises KeyError for a field or operator outside the tables: the API must have refused it before.
    """
    parts, arguments = ["true"], list[object]()
    for each in filters:
        number, column = first + len(arguments), columns[each.field]
        if each.field == "uuid" and each.operator == "startswith" and isinstance(column, str):
            # As a range, which an index finds; the text of each row's uuid is none.
            if (ends := _ends(str(each.value))) is None:
                parts.append("false")
            else:
                parts.append(f"{column} BETWEEN ${number} AND ${number + 1}")
                arguments += ends
            continue
        if isinstance(column, Looked) and each.operator == "exact":
            fitting = [column.exact.format(n=number)]
        else:
            names = column.columns if isinstance(column, Looked) else (column,) if isinstance(column, str) else column
            fitting = [_CONDITIONS[each.operator].format(column=one, n=number) for one in names]
        parts.append(fitting[0] if len(fitting) == 1 else f"({' OR '.join(fitting)})")
        arguments.append(each.value)
    return " AND ".join(parts), arguments


def _ends(begin: str) -> tuple[UUID, UUID] | None:
    """The least and the greatest uuid whose text begins so; None when there is none."""
    low, high = begin + _LEAST[len(begin) :], begin + _MOST[len(begin) :]
    if not re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", low):
        return None
    return UUID(low), UUID(high)
