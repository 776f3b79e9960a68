"""A container's successor gets the fixed port that it held: its node confirmed that it is gone, and nobody else has it.

Found by seed 8 of the simulator.
"""

from __future__ import annotations

from uuid import uuid4

from domain.action import ActionState
from domain.orders import order
from domain.service import ServiceState, Verb, counts, service_state
from domain.spec import PortSpec, ServiceSpec, Transport
from orchestrator.publish import publish
from orchestrator.store import services, wake
from orchestrator.store.db import now
from tests.orchestrator.world import Node, Record

PORT = PortSpec(protocol=Transport.TCP, inner_port=80, outer_port=8080, published=True)
SPEC = ServiceSpec(image="tutela/web:latest", ports=(PORT,))


async def test_a_redeployment_of_the_service_takes_its_port_over(record: Record) -> None:
    node = await Node.join(record.db)
    service = await record.create(target=1, spec=SPEC)
    await record.operate(service, Verb.START)
    await record.settle(node)
    action = await record.operate(service, Verb.REDEPLOY)
    await record.settle(node)
    ended = await record.action(action)
    assert (ended.state, ended.message) == (ActionState.SUCCESS, None)
    assert await record.state(service) is ServiceState.RUNNING


async def test_a_redeployment_of_the_container_takes_its_port_over(record: Record) -> None:
    node = await Node.join(record.db)
    service_id = await record.create(target=1, spec=SPEC)
    await record.operate(service_id, Verb.START)
    await record.settle(node)
    (before,) = await record.rows(service_id)
    async with record.db.transaction() as conn:
        service = await services.lock(conn, record.account.id, service_id)
        service, row = order(service, before, Verb.REDEPLOY, uuid4(), await now(conn), reuse_volumes=True)
        await publish(conn, [row])
        await services.save(conn, service, service_state(service, counts([row])))
        await wake.service(conn, service_id)
    await record.settle(node)
    (after,) = await record.rows(service_id)
    assert after.id != before.id
    assert await record.state(service_id) is ServiceState.RUNNING
