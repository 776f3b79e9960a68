"""Operations on one container, state by state, and what becomes of one that ended (spec 4.1, 2.18)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from domain.container import Container, ContainerState, Mount, Observed, Order, Seen, Want, container_state, news
from domain.errors import NotAllowed
from domain.image import ResolvedImage
from domain.orders import never_ran, order, settled
from domain.restarts import REPLACEMENTS, Fate, Leave, Restart, RestartHistory, after_end, decide
from domain.service import Operation, Service, ServiceWant, Verb
from domain.spec import CrashPolicy
from tests.planning.model import START, World, a_service, number

P = CrashPolicy
START_, STOP, REDEPLOY, TERMINATE = Verb.START, Verb.STOP, Verb.REDEPLOY, Verb.TERMINATE


def running() -> tuple[Service, Container]:
    world = World(a_service(target=1))
    world.operate(Verb.START)
    world.run()
    return world.service, world.open_rows()[0]


def in_state(state: ContainerState) -> tuple[Service, Container]:
    service, row = running()
    assert row.seen is not None
    changes: dict[ContainerState, dict[str, object]] = {
        ContainerState.INIT: {"want": Want.STOP, "seen": None},
        ContainerState.STARTING: {"start_gen": 2},
        ContainerState.RUNNING: {},
        ContainerState.STOPPING: {"want": Want.STOP},
        ContainerState.STOPPED: {"want": Want.STOP, "seen": replace(row.seen, state=Seen.EXITED, exit_code=0)},
        ContainerState.TERMINATING: {"want": Want.GONE},
        ContainerState.TERMINATED: {"want": Want.GONE, "terminated_at": START},
    }
    row = replace(row, **changes[state])  # type: ignore[arg-type]
    assert container_state(row) is state
    return service, row


TABLE = {
    ContainerState.INIT: {START_, TERMINATE},
    ContainerState.STARTING: set(),
    ContainerState.RUNNING: {STOP, REDEPLOY, TERMINATE},
    ContainerState.STOPPING: set(),
    ContainerState.STOPPED: {START_, REDEPLOY, TERMINATE},
    ContainerState.TERMINATING: set(),
    ContainerState.TERMINATED: set(),
}
AFTER = {
    START_: ContainerState.STARTING,
    STOP: ContainerState.STOPPING,
    REDEPLOY: ContainerState.TERMINATING,
    TERMINATE: ContainerState.TERMINATING,
}


@pytest.mark.parametrize("state", list(ContainerState))
@pytest.mark.parametrize("verb", [START_, STOP, REDEPLOY, TERMINATE])
def test_every_cell_of_the_container_table(state: ContainerState, verb: Verb) -> None:
    service, row = in_state(state)
    if verb not in TABLE[state]:
        with pytest.raises(NotAllowed, match=f"Container is in state {state.value}: {verb.value} is not allowed"):
            order(service, row, verb, number(10), START)
        return
    _, after = order(service, row, verb, number(10), START)
    assert container_state(after) is AFTER[verb]
    assert after.order is not None
    assert after.order.actions == (number(10),)


def test_nothing_is_ordered_while_the_service_has_an_operation() -> None:
    service, row = running()
    busy = replace(service, operation=Operation(verb=Verb.SCALE, actions=(number(9),), since=START))
    with pytest.raises(NotAllowed, match=r"has an operation .scale. under way"):
        order(busy, row, STOP, number(10), START)


def test_a_start_in_a_stopped_service_makes_it_one_that_is_to_run() -> None:
    service, row = in_state(ContainerState.STOPPED)
    after, _ = order(replace(service, want=ServiceWant.STOPPED), row, START_, number(10), START)
    assert after.want is ServiceWant.RUNNING


def test_a_redeployment_needs_the_image_that_the_service_names() -> None:
    service, row = running()
    other = replace(service, image=ResolvedImage(reference="other:1", image_id="x"))
    with pytest.raises(NotAllowed, match="redeploy the service"):
        order(other, row, REDEPLOY, number(10), START)


def test_volumes_go_with_a_termination_and_stay_for_a_successor() -> None:
    service, row = running()
    mount = Mount(source="tutela-v", target="/data", volume=True, own=True)
    row = replace(row, spec=replace(row.spec, mounts=(mount,)))
    assert order(service, row, TERMINATE, number(10), START)[1].drop_volumes == ("tutela-v",)
    assert order(service, row, REDEPLOY, number(10), START)[1].drop_volumes == ()
    fresh = order(service, row, REDEPLOY, number(10), START, reuse_volumes=False)[1]
    assert fresh.drop_volumes == ("tutela-v",)


@pytest.mark.parametrize(
    ("autoreplace", "autodestroy", "code", "fate"),
    [
        (P.OFF, P.OFF, 0, Fate.STAY),
        (P.OFF, P.OFF, 1, Fate.STAY),
        (P.OFF, P.ON_FAILURE, 0, Fate.STAY),
        (P.OFF, P.ON_FAILURE, 1, Fate.DESTROY),
        (P.OFF, P.ON_SUCCESS, 0, Fate.DESTROY),
        (P.OFF, P.ON_SUCCESS, 1, Fate.STAY),
        (P.OFF, P.ALWAYS, 0, Fate.DESTROY),
        (P.OFF, P.ALWAYS, 1, Fate.DESTROY),
        (P.OFF, P.ALWAYS, None, Fate.DESTROY),
        (P.ON_FAILURE, P.OFF, 0, Fate.STAY),
        (P.ON_FAILURE, P.OFF, 1, Fate.REPLACE),
        (P.ON_FAILURE, P.OFF, None, Fate.REPLACE),
        (P.ALWAYS, P.OFF, 0, Fate.REPLACE),
        (P.ALWAYS, P.ALWAYS, 1, Fate.REPLACE),
        (P.ON_FAILURE, P.ALWAYS, 0, Fate.DESTROY),
    ],
)
def test_replace_before_destroy_before_stay(
    autoreplace: CrashPolicy, autodestroy: CrashPolicy, code: int | None, fate: Fate
) -> None:
    given = {"autoreplace": autoreplace, "autodestroy": autodestroy, "exit_code": code, "ended_at": START}
    assert after_end(**given, replaced=()) is fate  # type: ignore[arg-type]
    used = tuple(START - timedelta(minutes=1) for _ in range(REPLACEMENTS))
    spent = Fate.DESTROY if autodestroy.matches(code) else Fate.STAY
    assert after_end(**given, replaced=used) is spent  # type: ignore[arg-type]
    old = tuple(START - timedelta(minutes=6) for _ in range(REPLACEMENTS))
    assert after_end(**given, replaced=old) is fate  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("autorestart", "autoreplace", "code", "count", "again"),
    [
        (P.OFF, P.OFF, 1, 0, False),
        (P.ON_FAILURE, P.OFF, 0, 0, False),
        (P.ON_FAILURE, P.OFF, 1, 9, True),
        (P.ALWAYS, P.OFF, 0, 9, True),
        (P.ALWAYS, P.ON_FAILURE, 0, 9, True),
        (P.ALWAYS, P.ON_FAILURE, 1, 2, True),
        (P.ALWAYS, P.ON_FAILURE, 1, 3, False),
        (P.ALWAYS, P.ALWAYS, 0, 3, False),
        (P.ON_FAILURE, P.ON_FAILURE, 1, 3, False),
    ],
)
def test_restarts_are_counted_only_where_a_replacement_waits(
    autorestart: CrashPolicy, autoreplace: CrashPolicy, code: int, count: int, again: bool
) -> None:
    history = RestartHistory(count=count, last_start=START)
    decision = decide(autorestart, exit_code=code, ended_at=START, history=history, now=START, autoreplace=autoreplace)
    assert isinstance(decision, Restart if again else Leave)


def test_how_it_ended_stays_known_when_it_is_gone() -> None:
    ended = Observed(state=Seen.EXITED, start_gen=1, exit_code=3, restart_count=2, ip="10.0.0.2")
    after = news(ended, Observed(state=Seen.GONE, start_gen=1))
    assert (after.state, after.exit_code, after.restart_count, after.ip) == (Seen.GONE, 3, 2, None)


@pytest.mark.parametrize(
    ("verb", "want", "seen", "ended"),
    [
        (STOP, Want.STOP, Seen.RUNNING, None),
        (STOP, Want.STOP, Seen.RESTARTING, None),
        (STOP, Want.STOP, Seen.EXITED, ""),
        (STOP, Want.STOP, None, ""),
        (STOP, Want.RUN, Seen.RUNNING, "the container was started again meanwhile"),
        (START_, Want.RUN, Seen.RUNNING, None),
        (START_, Want.STOP, Seen.EXITED, "the container was stopped meanwhile"),
        (REDEPLOY, Want.STOP, Seen.EXITED, "the container was stopped meanwhile"),
        (REDEPLOY, Want.GONE, Seen.RUNNING, None),
        (TERMINATE, Want.STOP, Seen.EXITED, None),
        (TERMINATE, Want.GONE, Seen.GONE, None),
    ],
)
def test_how_an_order_ends(verb: Verb, want: Want, seen: Seen | None, ended: str | None) -> None:
    _, row = running()
    observed = Observed(state=seen, start_gen=row.start_gen) if seen else None
    given = Order(verb=verb.value, actions=(number(9),), since=START)
    assert settled(replace(row, want=want, seen=observed, order=given)) == ended
    assert settled(replace(row, want=want, seen=observed)) is None


@pytest.mark.parametrize("verb", [START_, STOP, REDEPLOY, TERMINATE])
def test_a_crash_loop_can_be_ended_by_a_user(verb: Verb) -> None:
    service, row = running()
    looping = replace(row, seen=Observed(state=Seen.RESTARTING, start_gen=row.start_gen, restart_count=9))
    assert container_state(looping) is ContainerState.STARTING
    if verb is START_:
        with pytest.raises(NotAllowed, match="nothing is allowed until that has ended"):
            order(service, looping, verb, number(10), START)
        return
    assert order(service, looping, verb, number(10), START)[1].order is not None
    ordered = replace(looping, order=Order(verb="start", actions=(number(9),), since=START))
    with pytest.raises(NotAllowed, match="state Starting"):
        order(service, ordered, verb, number(10), START)
    not_yet = replace(looping, start_gen=row.start_gen + 1)
    with pytest.raises(NotAllowed, match="state Starting"):
        order(service, not_yet, verb, number(10), START)


def test_an_order_says_what_is_wanted_and_whom_it_wakes() -> None:
    service, row = in_state(ContainerState.STOPPED)
    asleep = replace(service, want=ServiceWant.STOPPED)
    woken, started = order(asleep, row, START_, number(10), START)
    assert (woken.want, started.want, started.start_gen) == (ServiceWant.RUNNING, Want.RUN, row.start_gen + 1)
    woken, redone = order(asleep, row, REDEPLOY, number(10), START)
    assert (woken.want, redone.want, redone.refill) == (ServiceWant.RUNNING, Want.GONE, True)
    still, gone = order(asleep, row, TERMINATE, number(10), START)
    assert (still.want, gone.want, gone.refill) == (ServiceWant.STOPPED, Want.GONE, False)
    dying = replace(service, want=ServiceWant.TERMINATED)
    assert order(dying, row, START_, number(10), START)[0].want is ServiceWant.TERMINATED
    assert order(*running(), STOP, number(10), START)[1].want is Want.STOP


def test_a_refusal_says_what_is_possible() -> None:
    service, row = in_state(ContainerState.RUNNING)
    with pytest.raises(NotAllowed) as caught:
        order(service, row, START_, number(10), START)
    assert str(caught.value) == (
        "Container is in state Running: start is not allowed (allowed now: redeploy, stop, terminate)"
    )


@pytest.mark.parametrize(
    ("want", "seen", "never"),
    [
        (Want.RUN, None, True),
        (Want.RUN, Observed(state=Seen.PENDING), True),
        (Want.RUN, Observed(state=Seen.PULLING), True),
        (Want.RUN, Observed(state=Seen.CREATED), True),
        (Want.RUN, Observed(state=Seen.CREATED, started_at=START), False),
        (Want.RUN, Observed(state=Seen.RUNNING), False),
        (Want.RUN, Observed(state=Seen.FAILED), False),
        (Want.STOP, None, False),
        (Want.GONE, None, False),
    ],
)
def test_what_a_canceled_deployment_need_not_keep(want: Want, seen: Observed | None, never: bool) -> None:
    _, row = running()
    assert never_ran(replace(row, want=want, seen=seen)) is never
