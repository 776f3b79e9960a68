"""What an agent said and waits for an answer to, while it is written together with what others said."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field


@dataclass(slots=True, eq=False, kw_only=True)
class Waiting:
    """One who waits until something is on record. `tries`: how often its node was not free."""

    written: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    tries: int = 0

    def done(self) -> None:
        """It is on record."""
        if not self.written.done():
            self.written.set_result(None)

    def fail(self, error: Exception) -> None:
        """It is not, and will not be."""
        if not self.written.done():
            self.written.set_exception(error)
            self.written.exception()  # whoever said it may be gone
