"""The document itself, made from the routes that are served and the table's row for each."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from app.openapi import schemas, schemas_admin
from app.openapi.schemas import ref
from app.openapi.table import OPERATIONS, Operation

ERRORS = {
    "400": "The input breaks a rule; `fields` names what and says what would be right.",
    "401": "Wrong or missing credentials.",
    "403": "The caller's role, or its key's scope, does not permit this.",
    "404": "No such object, or one of another account.",
    "405": "The method is not for this path; `Allow` has those that are.",
    "408": "The body did not come within a minute.",
    "409": "Not allowed in the present state; the text says what is.",
    "412": "`If-Match` has another version than the present one; or what it was sent for has no versions.",
    "413": "The body is larger than 1 MiB.",
    "415": "The body is of another type and does not parse as JSON.",
    "422": "The `Idempotency-Key` was given with another request before.",
    "429": "Too many requests; `Retry-After` has the seconds to wait.",
    "503": "The database is away; `Retry-After` has the seconds to wait.",
}
ACTION_HEADERS = {
    name: {"schema": schemas.URI, "description": "The action that records this request."}
    for name in ("X-Tutum-Action-URI", "X-DockerCloud-Action-URI")
}

IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
    "description": "A random text of the client's for this request. Sent again with it within 24 hours, the request is"
    " not done again: the answer is the first one, marked by `Idempotent-Replayed`.",
}
IF_MATCH = {
    "name": "If-Match",
    "in": "header",
    "required": False,
    "schema": {"type": "string"},
    "description": "The `ETag` of an earlier answer: the request is done only while the definition and what is wanted"
    " are as they were then, and refused with 412 otherwise. Containers that come and go do not count as a change.",
}
TAG_HEADER = {"ETag": {"schema": {"type": "string"}, "description": "The version of the definition, for `If-Match`."}}
REPLAYED_HEADER = {
    "Idempotent-Replayed": {
        "schema": {"type": "string", "const": "true"},
        "description": "There when the request was done before, and this is its answer from then.",
    }
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """An operation as it is routed: `path` with `{name}`, `summary` the first line of its docstring."""

    method: str
    path: str
    summary: str


def document(version: str, found: Iterable[Served]) -> dict[str, Any]:
    """OpenAPI 3.1. Raises KeyError for an operation that has no row in the table."""
    paths: dict[str, dict[str, Any]] = {}
    for each in found:
        row = OPERATIONS[each.method, each.path]
        paths.setdefault(each.path, {})[each.method.lower()] = _operation(each, row)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Tutela",
            "version": version,
            "description": "The Tutum API: services, and all that hangs on them. Lists are pages of 25."
            " HEAD is answered wherever GET is, without the body.",
        },
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": {**schemas.OBJECTS, **schemas.BODIES, **schemas_admin.OBJECTS, **schemas_admin.BODIES},
            "securitySchemes": {
                "ApiKey": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "Authorization",
                    "description": "`ApiKey <user>:<key>`",
                },
                "Basic": {"type": "http", "scheme": "basic"},
                "Bearer": {"type": "http", "scheme": "bearer", "description": "A container's token."},
            },
        },
        "security": [{"ApiKey": []}, {"Basic": []}, {"Bearer": []}],
    }


def _operation(served: Served, row: Operation) -> dict[str, Any]:
    method, path = served.method, served.path
    content = {} if row.answer is None else {"content": {"application/json": {"schema": _schema(row)}}}
    good: dict[str, Any] = {"description": "Done." if row.code != 202 else "Accepted.", **content}
    if method != "GET" and not row.no_action:
        good["headers"] = ACTION_HEADERS | REPLAYED_HEADER
    if row.versioned:
        good["headers"] = good.get("headers", {}) | TAG_HEADER
    codes = {str(code): good for code in (row.code, *row.also)}
    out: dict[str, Any] = {
        "operationId": f"{method.lower()}_{re.sub(r'[^a-z]+', '_', path.removeprefix('/api/v1').lower()).strip('_')}",
        "summary": served.summary,
        "tags": [path.removeprefix("/api/v1/").split("/", 1)[0]],
        "parameters": [
            *_in_path(path),
            *_in_query(row),
            *([IDEMPOTENCY_KEY] if method != "GET" else []),
            *([IF_MATCH] if row.conditional(method, path) else []),
        ],
        "responses": {
            **codes,
            **{code: _error(code) for code in sorted(row.errors(method, path))},
        },
    }
    if row.body is not None:
        out["requestBody"] = {
            "required": row.body_required,
            "content": {"application/json": {"schema": ref(row.body)}},
        }
    if row.open:
        out["security"] = []
    return out


def _schema(row: Operation) -> dict[str, Any]:
    assert row.answer is not None  # noqa: S101 - the caller looked
    return schemas.page_of(row.answer) if row.listed else ref(row.answer)


def _error(code: str) -> dict[str, Any]:
    return {"description": ERRORS[code], "content": {"application/json": {"schema": ref("Error")}}}


def _in_path(path: str) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"{(\w+)}", path)
    ]


def _in_query(row: Operation) -> list[dict[str, Any]]:
    names: list[tuple[str, dict[str, Any]]] = []
    if row.listed:
        names += [("limit", {"type": "integer", "minimum": 1}), ("offset", {"type": "integer", "minimum": 0})]
        names += [
            (field if operator == "exact" else f"{field}__{operator}", {"type": "string"})
            for field, known in sorted(row.filters.items())
            for operator in known.operators
        ]
    names += row.query
    return [{"name": name, "in": "query", "required": False, "schema": schema} for name, schema in names]
