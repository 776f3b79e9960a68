"""What routers need: the application's parts and the context of a command."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Annotated, Any
from urllib.parse import quote
from uuid import UUID

from fastapi import Depends, Request

from app.api import versions
from app.api.bodies import for_record, without_values
from app.commands.services import Context
from app.installation import host_rules_of
from app.settings import Settings
from app.wire.logs import LogSource
from app.wire.scalars import API
from domain.access import Role
from domain.action import Request as Origin
from domain.errors import Invalid, NotFound
from domain.networks import Fleet
from domain.node import Node
from orchestrator.ids import new_id
from orchestrator.store.accounts import Account, Principal
from orchestrator.store.db import Database
from orchestrator.store.shown import Host


def account(request: Request) -> Account:
    """The account of a request that had to log in."""
    return who(request).account


Caller = Annotated[Account, Depends(account)]
"""As an annotation of an endpoint's parameter: who asks (`app.api.routing`)."""


_NAMED = frozenset({"service", "container", "stack", "node"})


def ident(text: str, what: str) -> UUID:
    """The uuid in a path. Raises NotFound: a text that is none names nothing."""
    try:
        return UUID(text)
    except ValueError:
        how = f": its uuid is asked for; {API}/{what}/?name={quote(text[:80])} finds it" if what in _NAMED else ""
        raise NotFound(f"there is no {what} {text[:80]}{how}") from None


def flag(request: Request, name: str, *, default: bool) -> bool:
    """A boolean of the query string in any spelling of the clients (spec 1.5). Raises Invalid."""
    text = request.query_params.get(name, "").strip().lower()
    if text in {"", "true", "1", "yes", "on"}:
        return default if text == "" else True
    if text in {"false", "0", "no", "off"}:
        return False
    raise Invalid({name: "must be true or false"})


def database(request: Request) -> Database:
    """The application's database; of a request with an `Idempotency-Key`, its own (`app.api.once`)."""
    db: Database = request.scope.get("tutela.database") or request.app.state.db
    return db


def who(request: Request) -> Principal:
    """Who is asking, and with what right; of a request that had to log in."""
    found: Principal = request.state.who
    return found


def settings(request: Request) -> Settings:
    """The application's settings."""
    found: Settings = request.app.state.settings
    return found


def log_source(request: Request) -> LogSource | None:
    """Who reads containers' output, if this process can."""
    found: LogSource | None = request.app.state.logs
    return found


def command(request: Request, caller: Account, body: Any, *, owner: Role | None = None) -> Context:
    """The context of a command: a new action, announced in the answer's header.

    `owner`: the account's role where nobody has logged in, which then defines nothing.
    """
    request.state.action_id = new_id()
    rules = host_rules_of(settings(request))
    origin = Origin(
        method=request.method,
        path=request.url.path,
        body=for_record(body),
        ip=request.client.host if request.client else "",
        user_agent=request.headers.get("user-agent", "")[:500].replace("\x00", ""),
    )
    return Context(
        db=database(request),
        account=caller,
        request=origin,
        action_id=request.state.action_id,
        network_pool=settings(request).network_pool,
        audit=request.scope["tutela.audit"],
        may=rules.of(Role.READ_ONLY if owner else who(request).role),
        owner_may=rules.of(owner or who(request).owner_role),
        administers=owner is None and who(request).role is Role.ADMIN,
        unchanged=partial(versions.check, request),
    )


def visible(request: Request, shown: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Services or containers as the caller may see them: without their variables' values for who may only read."""
    return [without_values(each) for each in shown] if who(request).role is Role.READ_ONLY else shown


def addresses(request: Request, hosts: Iterable[Node | Host]) -> dict[UUID, str]:
    """Where published ports of these hosts are reached, as far as it is known; `hosts` as for `fleet`.

    The machine of this process, as long as it is all there is, has the public URL's host and not its own address.
    """
    there = list(hosts)
    if len(there) == 1 and there[0].reach == settings(request).own_address:
        return {}
    return {each.id: each.reach for each in there if each.reach}


def fleet(request: Request, hosts: Iterable[Node | Host]) -> Fleet:
    """The hosts as links see them. `hosts`: those that matter, and enough others (`nodes.around`, `shown.load`)."""
    config = settings(request)
    there = list(hosts)
    return Fleet(
        mode=config.network,
        overlay=frozenset(each.id for each in there if each.overlay),
        reach={each.id: each.reach or each.name for each in there},
        domain=config.public_domain,
    )
