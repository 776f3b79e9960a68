"""uvicorn's HTTP connection, but one that does not wait for ever, nor hold a head of any size (RELIABILITY S27)."""

from __future__ import annotations

import asyncio

from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_SECONDS = 20.0
"""From the connection, or the first byte of a request, to the end of its head."""
MOST_HEAD = 16 * 1024
_REFUSED = b'{"error": "The head of the request is too large.", "code": "too_large"}'


class HttpProtocol(HttpToolsProtocol):
    """Ends a connection whose request's head takes too long, and refuses a head that is too large with 431."""

    _deadline: asyncio.TimerHandle | None = None
    _heading = True
    _raw = 0
    _held = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        """Somebody is there; they have so long to say what they want."""
        super().connection_made(transport)
        self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        """They are gone."""
        self._had()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()
        self._heading, self._raw, self._held = True, 0, 0
        self._expect()

    def on_url(self, url: bytes) -> None:
        """A part of the path."""
        self._held += len(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        self._held += len(name) + len(value) + 4
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is there: the rest is the application's."""
        self._heading = False
        self._had()
        served = self.app
        if self._held > MOST_HEAD:
            self.app = _refuse
        try:
            super().on_headers_complete()
        finally:
            self.app = served

    def data_received(self, data: bytes) -> None:
        """Some bytes; of a head no more than there may be."""
        super().data_received(data)
        if self._heading and not self.transport.is_closing():
            self._raw += len(data)
            if self._raw > MOST_HEAD:
                self.transport.write(
                    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: application/json\r\n"
                    b"content-length: %d\r\nconnection: close\r\n\r\n%s" % (len(_REFUSED), _REFUSED)
                )
                self.transport.close()

    def _expect(self) -> None:
        self._had()
        self._deadline = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _had(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


async def _refuse(_scope: Scope, _receive: Receive, send: Send) -> None:
    headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 431, "headers": headers})
    await send({"type": "http.response.body", "body": _REFUSED})
