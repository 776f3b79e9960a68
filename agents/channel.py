"""How the agent reaches the control plane. The in-process one lives in `app.roles`, which may import both sides."""

from __future__ import annotations

from typing import Protocol

from domain.assignment import Beat, Heard, NodeAssignments, NodeHello, NodeReport, Registration


class ControlChannel(Protocol):
    """The calls of the agent protocol. Each raises ConnectionError while the control plane is away."""

    async def register(self, hello: NodeHello) -> Registration:
        """Begin a session. Raises domain.errors.DomainError when this node is not welcome as it is."""
        ...

    async def assignments(self, registration: Registration, since: int) -> NodeAssignments:
        """What changed after revision `since`, 0 for everything; waits for a change up to about 30 s.

        Raises SessionLost.
        """
        ...

    async def report(self, report: NodeReport) -> None:
        """Hand in a report; returns when it is accepted and durable. Raises SessionLost."""
        ...

    async def beat(self, beat: Beat) -> Heard:
        """The agent is there; returns when that is durable. Raises SessionLost."""
        ...
