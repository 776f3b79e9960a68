"""One pass: lock a due service, load, decide, write; one transaction, nothing but the database in it."""

from __future__ import annotations

import time
from collections import Counter
from datetime import datetime
from uuid import UUID

import structlog

from domain.errors import Conflict
from domain.service import Service
from orchestrator import apply, snapshot
from orchestrator.metrics import PASS_SECONDS, PASSES
from orchestrator.planning.service import plan_service
from orchestrator.planning.steps import Plan
from orchestrator.planning.view import Installation, NodesWanted, Policy, ServiceView
from orchestrator.store import schedule
from orchestrator.store.db import Connection, Database
from orchestrator.store.errors import DatabaseAway

log = structlog.get_logger("reconciler")
POSTPONE_SECONDS = 5.0
RACE_SECONDS = 0.2


class PassFailed(Exception):
    """A pass could not be done; its service was put off, so that the others go on."""


async def gather(db: Database) -> int:
    """Put the services in the queue that wakes were left for; returns how many. Raises DatabaseAway."""
    async with db.transaction() as conn:
        return await schedule.gather(conn)


async def one_pass(db: Database, installation: Installation, policy: Policy) -> schedule.Idle | None:
    """Do one pass for the service that is due longest, or return for how long none is. Raises DatabaseAway."""
    service_id: UUID | None = None
    began = time.monotonic()
    try:
        async with db.transaction() as conn:
            due = await schedule.take(conn)
            if isinstance(due, schedule.Idle):
                return due
            service_id = due.id
            service = due.read()
            view, plan = await decide(conn, service, installation, policy, due.at)
            await apply.apply(conn, view, plan)
    except DatabaseAway:
        raise
    except Conflict as error:
        # Two passes raced for one port: the next look sees who has it.
        PASSES.add("raced")
        log.info("pass raced", service=str(service_id), reason=str(error))
        await _postpone(db, service_id, RACE_SECONDS)
        return None
    except Exception:
        # The boundary of one pass: a defect met by one service must not stop the others.
        PASSES.add("failed")
        log.exception("pass failed", service=str(service_id))
        await _postpone(db, service_id, POSTPONE_SECONDS)
        return None
    PASSES.add("done")
    PASS_SECONDS.observe(time.monotonic() - began)
    # A line for each kind with the first one's cause, however many containers it is done to.
    first = {type(step).__name__: step.cause for step in reversed(plan.steps)}
    for kind, times in Counter(type(step).__name__ for step in plan.steps).items():
        log.info("step", service=service.unique_name, kind=kind, cause=first[kind], times=times)
    return None


async def decide(
    conn: Connection, service: Service, installation: Installation, policy: Policy, at: datetime
) -> tuple[ServiceView, Plan]:
    """What is to be done for a service whose row the caller has locked, and from which view; `at`: now."""
    view = await snapshot.load(conn, service, installation, at)
    try:
        return view, plan_service(view, policy)
    except NodesWanted:
        view = await snapshot.widen(conn, view)
        return view, plan_service(view, policy)


async def _postpone(db: Database, service_id: UUID | None, seconds: float) -> None:
    if service_id is None:
        raise PassFailed("the queue could not be read")
    async with db.transaction() as conn:
        await schedule.postpone(conn, service_id, seconds)
