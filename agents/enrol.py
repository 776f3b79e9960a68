"""How a host joins: find out who the control plane is, and only then tell it the secret (RELIABILITY S24).

The first connection trusts nobody and sends nothing; it fetches the authority's certificate, whose digest the token
carries. The second trusts that authority alone.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import ssl
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import TypeAdapter
from websockets.exceptions import ConnectionClosed

from agents import frames
from agents.dial import client_context, open_socket
from agents.frames import Credential, Join
from domain.errors import Invalid, NotAllowed

T = TypeVar("T")
A = TypeVar("A")
TOKEN = r"TUTELA-1-([0-9a-f]{64})-([0-9a-f]{32})"  # noqa: S105 - a pattern
ANSWER_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A join token: the digest of the authority's certificate, and the secret."""

    digest: str
    secret: str = field(repr=False)


def read_token(text: str) -> Token:
    """The token in a word. Raises Invalid."""
    found = re.fullmatch(TOKEN, text.strip())
    if found is None:
        raise Invalid({"token": "must be a join token, TUTELA-1-..., as POST /api/v1/token/ makes it; copy all of it"})
    return Token(digest=found[1], secret=found[2])


async def authority(url: str, token: Token) -> str:
    """The certificate of the authority behind the door, in PEM. Raises NotAllowed when it is not the token's."""
    answer = await _call(url, client_context(None), "authority", frames.DONE, frames.Done(), frames.AUTHORITY)
    try:
        found = hashlib.sha256(ssl.PEM_cert_to_DER_cert(answer.certificate.strip() + "\n")).hexdigest()
    except ValueError:
        found = ""
    if not hmac.compare_digest(found, token.digest):
        raise NotAllowed(
            f"{url} is not the control plane that made this token (its authority is another one). Nothing was sent to"
            " it. Check the URL; make a new token if the installation was set up anew"
        )
    return answer.certificate


async def join(url: str, token: Token, trusted: str, asked: Join) -> Credential:
    """Ask to be a node, over TLS that trusts the authority `trusted`. Raises NotAllowed, Conflict, ConnectionError."""
    return await _call(url, client_context(trusted), "join", frames.JOIN, asked, frames.CREDENTIAL)


async def _call(url: str, context: ssl.SSLContext, name: str, up: TypeAdapter[A], body: A, down: TypeAdapter[T]) -> T:
    socket = await open_socket(url, frames.JOIN_PATH, context)
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await socket.send(frames.call(1, name, up, body))
            frame: dict[str, Any] = frames.parse(await socket.recv())
        error = frames.failed(frame)
        if error is not None:
            raise error
        return frames.read(down, frame.get("body"))
    except (ConnectionClosed, TimeoutError) as error:
        raise ConnectionError(f"{url} ended the conversation") from error
    except frames.Broken as error:
        raise ConnectionError(f"{url} does not speak the agents' protocol: is it a control plane's door?") from error
    finally:
        await socket.close()
