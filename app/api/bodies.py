"""Read a request's JSON body with limits, and what an action keeps of it."""

from __future__ import annotations

import json
from typing import Any

from fastapi import Request
from starlette.exceptions import HTTPException

from domain.errors import Invalid

MOST_DEPTH = 32
_SECRETS = frozenset({"password", "api_key", "apikey", "token", "secret", "credentials"})
_VARIABLES = frozenset({"container_envvars", "calculated_envvars", "environment"})
"""Variables, in services and, as an object or as `KEY=value` too, in stacks (spec 2.7)."""
_NAMING = frozenset({"key", "origin"})
MASK = "********"


async def read_json(request: Request) -> Any:
    """The body, or None when it is empty, whatever type it says it is of (spec 1.5).

    Raises Invalid naming `body`, or 415 when it says that it is no JSON, and is none.
    """
    raw = await request.body()
    if not raw.strip():
        return None
    try:
        text = raw.decode("utf-8")
        data = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_unique)
    except UnicodeDecodeError:
        _json_was_meant(request)
        raise Invalid({"body": "is not UTF-8"}) from None
    except RecursionError:
        raise Invalid({"body": f"is nested deeper than {MOST_DEPTH} levels"}) from None
    except ValueError as error:
        _json_was_meant(request)
        raise Invalid({"body": f"is not JSON: {error}"[:200]}) from None
    if _depth(data) > MOST_DEPTH:
        raise Invalid({"body": f"is nested deeper than {MOST_DEPTH} levels"})
    return data


def _json_was_meant(request: Request) -> None:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind and kind != "application/json" and not kind.endswith("+json"):
        raise HTTPException(415, f"The body is {kind[:80]}: send JSON, as application/json.")


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) != len(pairs):
        raise ValueError("a key is given twice in one object")
    return out


def _depth(data: Any) -> int:
    level, current = 0, [data]
    while current:
        level += 1
        current = [
            child
            for item in current
            for child in (item.values() if isinstance(item, dict) else item if isinstance(item, list) else ())
        ]
        if level > MOST_DEPTH:
            return level
    return level


def masked(data: Any) -> Any:
    """The body without secrets: values of variables and passwords are not for the record (RELIABILITY S21)."""
    if isinstance(data, list):
        return [masked(item) for item in data]
    if not isinstance(data, dict):
        return data
    out: dict[str, Any] = {}
    for key, value in data.items():
        if key in _VARIABLES:
            out[key] = _hidden(value)
        elif key.lower() in _SECRETS:
            out[key] = MASK
        else:
            out[key] = masked(value)
    return out


def _hidden(variables: Any, *, listed: bool = False) -> Any:
    """Variables with their names and without anything else, also where their form is wrong: that is recorded too.

    `listed`: of a list, in which each says its name; in a stack file one may be called `key`.
    """
    if isinstance(variables, list):
        return [_hidden(item, listed=True) for item in variables]
    if not isinstance(variables, dict):
        return MASK
    naming = _NAMING if listed else frozenset()
    return {name: value if name in naming and isinstance(value, str) else MASK for name, value in variables.items()}


def without_values(shown: dict[str, Any]) -> dict[str, Any]:
    """A service or container as shown to who may read, but not know what its variables hold (RELIABILITY S6)."""
    out: dict[str, Any] = masked(shown)
    variables = out.get("link_variables", {})
    return {
        **out,
        "link_variables": {key: MASK if "_ENV_" in key else value for key, value in variables.items()},
    }


def for_record(data: Any) -> str:
    """What an action keeps of a body: text, without secrets, not endless, and without what Postgres cannot hold."""
    if data is None:
        return ""
    return json.dumps(masked(data), ensure_ascii=True)[:8192].replace("\\u0000", "")
