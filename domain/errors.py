"""What can go wrong in the domain; `app.api.errors` turns each into one HTTP answer."""

from __future__ import annotations

from collections.abc import Iterable


class DomainError(Exception):
    """A request that the rules refuse. The message is shown to the user as it is."""


class Invalid(DomainError):
    """The input breaks a rule; nothing was stored. 400.

    `fields` maps the path of each bad field (`container_ports[0].inner_port`) to its message.
    """

    def __init__(self, fields: dict[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {text}" for name, text in fields.items()))
        self.fields = fields


class NotFound(DomainError):
    """No such object, or one of another account. 404."""


class NotAllowed(DomainError):
    """The operation is not allowed in the present state. 409."""


def instead(possible: Iterable[str], *, gone: bool) -> str:
    """What a refusal offers. `possible`: the verbs that are allowed now. `gone`: nothing will ever be."""
    if allowed := ", ".join(sorted(possible)):
        return f"allowed now: {allowed}"
    return "it is gone for good" if gone else "nothing is allowed until that has ended"


class Stale(DomainError):
    """The object is not any more as the caller said that it has to be. 412."""


class Unversioned(DomainError):
    """The caller said how the object has to be, and there is nothing to compare that with. 412."""


class Conflict(DomainError):
    """Somebody else changed the object meanwhile, or a unique value is taken. 409."""
