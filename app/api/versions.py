"""`ETag` and `If-Match` (RFC 9110, 13.1.1): a change that is made only of what its caller has read (I8).

The tag of a service or stack tells what its users have asked for, not what became of that: a container that crashes
between a read and a change does not refuse the change. Nothing is answered by a tag instead of a body (`If-None-Match`
is not taken), for which it would say too little.
"""

from __future__ import annotations

import re

from fastapi import Request

from app.secretbox import SecretBox
from domain.errors import Invalid, Stale, Unversioned

HEADER = "If-Match"
_TAG = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
_TAGS = re.compile(rf"\s*\*\s*|[\s,]*{_TAG}(?:\s*,[\s,]*{_TAG})*[\s,]*")


def tag(request: Request, version: str) -> str:
    """The `ETag` of a version (`domain.versions`). A definition has passwords in it, at which nobody must be able to
    guess by the tag: so it is made with the installation's secret."""
    box: SecretBox = request.app.state.secrets
    return f'"{box.code_of(f"version {version}".encode()).hex()[:20]}"'


def expected(request: Request, *, versioned: bool) -> None:
    """Of a request with `If-Match`: note what it expects, for its command. `versioned`: whether what it changes has
    versions. Raises Invalid for another form, and Unversioned where there is nothing that could be as expected."""
    given = ", ".join(request.headers.getlist(HEADER))
    if not _TAGS.fullmatch(given):
        raise Invalid({HEADER: 'must be an ETag as it was given, in its quotes, several of them with commas, or "*"'})
    if not versioned:
        raise Unversioned(f"{HEADER} is for what changes one service or one stack: send this request without it")
    request.state.expected = given


def check(request: Request, version: str) -> None:
    """Raises Stale when the request expects another version than this one."""
    given: str | None = getattr(request.state, "expected", None)
    if given is None or given.strip() == "*":
        return
    present = tag(request, version)
    tags = re.findall(_TAG, given)
    if present in tags:
        return
    # Who changes something has to have read just this, of which a weak tag says nothing.
    if f"W/{present}" in tags:
        raise Stale(f"A weak ETag equals none: send {present} (proxies that compress answers put W/ before it)")
    raise Stale(f"It was changed since it was read, its ETag is {present} now: read it again, and change that")
