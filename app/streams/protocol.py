"""uvicorn's WebSocket connection, but one that is over does not wait for a reader who never reads."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

PING_SECONDS = 25.0
"""Spec 4.12."""
PONG_SECONDS = 120.0
"""Long: a pager that is not scrolled answers no pings either."""
MOST_MESSAGE = 1024 * 1024
LAST_WORDS_SECONDS = 12.0
"""For what was sent last, and for the other side's part of the closing handshake (uvicorn gives it 10)."""


class StreamProtocol(WebSocketsSansIOProtocol):
    """Cuts the connection some time after its handler has ended, or at once when the pong does not come.

    `close` alone keeps a connection for as long as its buffer is not read.
    """

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        """The handler has ended."""
        super().on_task_complete(task)
        self.loop.call_later(LAST_WORDS_SECONDS, self.transport.abort)

    def keepalive_timeout(self) -> None:
        """The pong did not come."""
        super().keepalive_timeout()
        self.transport.abort()
