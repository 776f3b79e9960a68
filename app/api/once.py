"""`Idempotency-Key`: a request that is sent again with its key is answered as the first time, and done once (I1, F28).

The answer is stored in the transaction of what the request changed, so both are there or neither. For that the
request has a database of its own (`orchestrator.store.held`), which commits when the answer is made. Without the header
nothing of this happens. Decision 19 says what is stored and what is not.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from uuid import UUID

from fastapi import FastAPI, Request, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.audited import SAFE
from app.api.errors import away, body
from app.api.responses import reply
from app.secretbox import SecretBox
from domain.errors import Invalid
from orchestrator.store import answers
from orchestrator.store.answers import Stored
from orchestrator.store.db import Connection
from orchestrator.store.errors import DatabaseAway
from orchestrator.store.held import Held

HEADER = "Idempotency-Key"
REPLAYED = "Idempotent-Replayed"
_KEY = re.compile(r"[!-~]{1,255}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request that is to be done once: whose, under which key, and what it is."""

    account_id: UUID
    key: str
    fingerprint: bytes


class Answered(Exception):
    """The request ends here, with this response: it was done before, or its key belongs to another one."""

    def __init__(self, response: Response) -> None:
        super().__init__("answered before")
        self.response = response


def install(app: FastAPI) -> None:
    """Teach the application that answer."""
    app.add_exception_handler(Answered, _answered)


async def begun(request: Request) -> None:
    """For all operations, once the caller is known: a request with a key that was done already ends here.

    Raises Invalid for a key of another form, and Answered.
    """
    present = getattr(request.state, "who", None)
    if present is not None:
        await begin(request, present.account.id, present.role.value)


async def begin(request: Request, account_id: UUID, right: str) -> None:
    """As `begun`, for whom the request is made on behalf of. `right`: what it may do, since an answer that tells a
    secret is not for a lesser key of the same account."""
    if "tutela.database" not in request.scope:
        return
    given = request.headers.getlist(HEADER)
    if len(given) != 1 or not _KEY.fullmatch(given[0]):
        raise Invalid({HEADER: "must be given once, as 1 to 255 visible ASCII characters; a random UUID is a good one"})
    box: SecretBox = request.app.state.secrets
    what = (request.method, request.url.path, request.url.query, right)
    fingerprint = box.code_of(repr(what).encode() + await request.body())
    asked = Asked(account_id=account_id, key=given[0], fingerprint=fingerprint)
    async with request.scope["tutela.database"].read() as conn:
        found = await _found(conn, request, asked)
    if found is not None:
        raise Answered(found)
    request.scope["tutela.asked"] = asked


class Once:
    """Gives a request with the header its own database, and commits it together with the answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope) if scope["type"] == "http" and scope["method"] not in SAFE else None
        if request is None or HEADER not in request.headers:
            await self._app(scope, receive, send)
            return
        held = scope["tutela.database"] = Held(scope["app"].state.db)
        messages: list[Message] = []

        async def keeping(message: Message) -> None:
            messages.append(message)

        try:
            await self._app(scope, receive, keeping)
            other = await _settle(request, held, messages)
        except DatabaseAway:
            other = away(request)
        finally:
            await held.abandon()
        if other is not None:
            await other(scope, receive, send)
            return
        for message in messages:
            await send(message)


async def _settle(request: Request, held: Held, messages: list[Message]) -> Response | None:
    """Commit what was done, or roll it back; another answer than the one made, if another one is due.

    Raises DatabaseAway: then nobody knows, and a repetition finds out.
    """
    asked: Asked | None = request.scope.get("tutela.asked")
    status: int = messages[0]["status"]
    if asked is None or status >= 500:
        return None
    if status >= 400:
        # Refused perhaps because the same request was done a moment ago, on another connection.
        async with held.read() as conn:
            found = await _found(conn, request, asked)
        if found is None:
            await held.commit()
        return found
    async with held.read() as conn:
        kept = await answers.keep(conn, asked.account_id, asked.key, _stored(request, asked, messages))
    if kept:
        await held.commit()
        return None
    await held.abandon()
    request.scope["tutela.audit"].written = False
    async with held.read() as conn:
        return await _found(conn, request, asked)


def _stored(request: Request, asked: Asked, messages: list[Message]) -> Stored:
    box: SecretBox = request.app.state.secrets
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in messages[0]["headers"]}
    headers.pop("content-length", None)
    content = b"".join(message.get("body", b"") for message in messages[1:])
    sealed = box.seal(content.decode())
    return Stored(fingerprint=asked.fingerprint, status=messages[0]["status"], headers=headers, sealed=sealed)


async def _found(conn: Connection, request: Request, asked: Asked) -> Response | None:
    """The answer when the key is known, else None: the stored one, or a refusal."""
    stored = await answers.find(conn, asked.account_id, asked.key)
    if stored is None:
        return None
    request.scope["tutela.audit"].detail = "sent again with its Idempotency-Key"
    request.state.action_id = None
    if stored.fingerprint != asked.fingerprint:
        why = "was given with another request before: give each request a key of its own, and repeat it unchanged"
        return reply(request, body(f"{HEADER} {why}.", "idempotency_key_reused", fields={HEADER: why}), 422)
    box: SecretBox = request.app.state.secrets
    content = box.unseal(stored.sealed)
    if content is None:
        text = "The request was done; its answer cannot be read, as the installation's secret is another one by now."
        return reply(request, body(text, "conflict"), 409)
    return Response(content=content, status_code=stored.status, headers={**stored.headers, REPLAYED: "true"})


async def _answered(_request: Request, error: Exception) -> Response:
    assert isinstance(error, Answered)  # noqa: S101 - registered for this type
    return error.response
