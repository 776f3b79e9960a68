"""uvicorn's WebSocket connection, but one that is over does not wait for a reader who never reads."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.protocol import State

PING_SECONDS = 25.0
"""Spec 4.12."""
PONG_SECONDS = 120.0
"""Long: a pager that is not scrolled answers no pings either."""
MOST_MESSAGE = 1024 * 1024
ONCE_MORE_SECONDS = 1.0
"""After a ping of the client's. The old SDK (websocket-client 0.32) pings every 5 s, waits for 5 s from what it heard
last, and drops the line when its last ping is older than 5 s then: on a busy machine, whenever its own next ping is
later than the pong to the last one was. What it hears in between moves that moment away from its pings; what is left is
a message that comes in just the moment by which its ping is late."""
LAST_WORDS_SECONDS = 12.0
"""For what was sent last, and for the other side's part of the closing handshake (uvicorn gives it 10)."""


class StreamProtocol(WebSocketsSansIOProtocol):
    """Cuts the connection some time after its handler has ended, or at once when the pong does not come.

    `close` alone keeps a connection for as long as its buffer is not read.
    """

    _again: asyncio.TimerHandle | None = None

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        """The handler has ended."""
        super().on_task_complete(task)
        self.loop.call_later(LAST_WORDS_SECONDS, self.transport.abort)

    def handle_ping(self) -> None:
        """The client's ping is answered, and once more later: nobody minds a pong that was not asked for."""
        super().handle_ping()
        if self._again is None:  # one for many
            self._again = self.loop.call_later(ONCE_MORE_SECONDS, self._once_more)

    def _once_more(self) -> None:
        self._again = None
        if self.conn.state is State.OPEN and not self.transport.is_closing():
            self.conn.send_pong(b"")
            self.transport.write(b"".join(self.conn.data_to_send()))

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over."""
        if self._again is not None:
            self._again.cancel()
        super().connection_lost(exc)

    def keepalive_timeout(self) -> None:
        """The pong did not come."""
        super().keepalive_timeout()
        self.transport.abort()
