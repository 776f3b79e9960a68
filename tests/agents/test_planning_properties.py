"""What holds for the node's plan whatever is assigned and whatever is there."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from agents.planning import best, plan_node
from agents.steps import (
    CreateContainer,
    DisconnectNetwork,
    RemoveContainer,
    RemoveNetwork,
    SetRestartPolicy,
    StartContainer,
    Step,
    StopContainer,
    Unpause,
    key,
    render,
)
from agents.view import Endpoint, EngineState, EngineView, ObservedContainer, ObservedNetwork
from domain.assignment import ContainerAssignment
from domain.container import Want
from domain.spec import CrashPolicy
from tests.agents.build import NOW, assigned, attachment, on_engine
from tests.agents.model import Model
from tests.harness.examples import examples

NETS = ("net-a", "net-b")


@st.composite
def assignments(draw: st.DrawFn) -> list[ContainerAssignment]:
    out = []
    for n in sorted(draw(st.sets(st.integers(1, 4), max_size=4))):
        nets = draw(st.lists(st.sampled_from(NETS), unique=True))
        out.append(
            assigned(
                n,
                want=draw(st.sampled_from(Want)),
                autorestart=draw(st.sampled_from([CrashPolicy.OFF, CrashPolicy.ALWAYS, CrashPolicy.ON_FAILURE])),
                networks=tuple(attachment(name, f"web-{n}") for name in nets),
                start_gen=draw(st.integers(1, 2)),
                seen_start_gen=draw(st.integers(0, 1)),
            )
        )
    return out


@st.composite
def views(draw: st.DrawFn) -> EngineView:
    networks = tuple(
        ObservedNetwork(network_id=f"id-{name}", name=name)
        for name in draw(st.lists(st.sampled_from([*NETS, "net-old"]), unique=True))
    )
    containers: list[ObservedContainer] = []
    for i, n in enumerate(draw(st.lists(st.integers(1, 5), max_size=6))):
        ends = [
            Endpoint(network_id=each.network_id, aliases=frozenset({draw(st.sampled_from(["x", f"web-{n}"]))}))
            for each in networks
            if draw(st.booleans())
        ]
        base = on_engine(assigned(n), draw(st.sampled_from(EngineState)))
        containers.append(
            replace(
                base,
                engine_id=f"e{i}",
                name=draw(st.sampled_from([base.name, "renamed"])),
                digest=draw(st.sampled_from([base.digest, base.digest, "other"])),
                restart_policy=draw(st.sampled_from(["no", "always", "on-failure", "unless-stopped"])),
                exit_code=draw(st.sampled_from([0, 1, 137])) if base.state is EngineState.EXITED else None,
                endpoints=tuple(ends),
            )
        )
    return EngineView(containers=tuple(containers), networks=networks)


@examples(300)
@given(assignments(), views(), st.randoms(use_true_random=False))
def test_the_order_of_the_inputs_does_not_matter(
    wanted: list[ContainerAssignment], view: EngineView, chance: object
) -> None:
    first = render(plan_node(wanted, view, {}, NOW))
    assert render(plan_node(wanted, view, {}, NOW)) == first
    shuffled = replace(view, containers=view.containers[::-1], networks=view.networks[::-1])
    assert render(plan_node(wanted[::-1], shuffled, {}, NOW)) == first


UP = {EngineState.RUNNING, EngineState.PAUSED, EngineState.RESTARTING}


def safe(model: Model) -> None:
    """I2a and I5 at every step of the plan, not only at its end: a step may be the last before the agent is killed."""
    view = model.view()
    up = {each.engine_id: each.container_id for each in view.containers if each.state in UP}
    policies = {each.engine_id: each.restart_policy for each in view.containers}
    ours = set(policies)
    networks = {each.network_id for each in view.networks}
    for step in model.plan().steps:
        match step:
            case StopContainer():
                assert policies[step.engine_id] == "no", "the engine would start it again (E5)"
                del up[step.engine_id]
            case SetRestartPolicy():
                policies[step.engine_id] = step.policy
            case RemoveContainer():
                assert step.engine_id not in up, "it would be killed without its grace"
                ours.remove(step.engine_id)
            case StartContainer():
                assert step.container_id not in up.values(), "two of one identity would run"
                assert step.engine_id is None or step.engine_id in ours
                up[step.engine_id or f"made for {step.container_id}"] = step.container_id
            case CreateContainer():
                assert step.container_id not in {
                    each.container_id for each in view.containers if each.engine_id in ours
                }, "a second one would be made"
            case RemoveNetwork():
                assert step.network_id in networks
            case Unpause() | DisconnectNetwork():
                assert step.engine_id in ours


@examples(400)
@given(assignments(), views())
def test_it_converges_to_exactly_what_is_wanted(wanted: list[ContainerAssignment], view: EngineView) -> None:
    model = Model(wanted, view)
    total = 0
    for _ in range(10):
        safe(model)
        plan = model.step()
        total += len(plan.steps)
        if plan.next_due is not None:
            model.now = max(model.now, plan.next_due)
        if not plan.steps and plan.next_due is None:
            break
    restarting = {each.container_id for each in model.containers.values() if each.state is EngineState.RESTARTING}
    assert model.plan().steps == (), render(model.plan())
    by_id: dict[UUID, list[ObservedContainer]] = {each.container_id: [] for each in wanted}
    for found in model.containers.values():
        by_id[found.container_id].append(found)
    for each in wanted:
        here = by_id[each.container_id]
        if each.want is Want.GONE:
            assert here == []
        else:
            assert len(here) <= 1
        if each.want is Want.STOP:
            assert all(one.state is not EngineState.RUNNING and one.restart_policy == "no" for one in here)
        if each.want is Want.RUN:
            one = best(each, here)
            assert one is not None
            if each.container_id in restarting:
                continue
            assert one.digest == each.spec_digest
            assert one.restart_policy != "unless-stopped"
            result = each.autorestart is CrashPolicy.OFF or one.exit_code == 0
            assert one.state is EngineState.RUNNING or (one.state is EngineState.EXITED and result)
    assert total <= 10 * (len(wanted) + len(view.containers) + len(view.networks)) + 5


@examples(200)
@given(assignments(), views())
def test_an_incomplete_ledger_removes_nothing_it_does_not_know(
    wanted: list[ContainerAssignment], view: EngineView
) -> None:
    known = {each.container_id for each in wanted}
    plan = plan_node(wanted, view, {}, NOW + timedelta(seconds=1), complete=False)
    assert all(getattr(step, "container_id", None) in known for step in plan.steps)


@examples(300)
@given(assignments(), views(), st.integers(1, 5))
def test_containers_do_not_depend_on_each_other(
    wanted: list[ContainerAssignment], view: EngineView, number_of: int
) -> None:
    """What is planned for one is what would be planned were it alone (I14); foreign networks change nothing (I5)."""
    one = assigned(number_of).container_id
    alone = [each for each in wanted if each.container_id == one]
    only = replace(view, containers=tuple(each for each in view.containers if each.container_id == one))

    def steps(assignments: list[ContainerAssignment], seen: EngineView) -> list[Step]:
        plan = plan_node(assignments, seen, {}, NOW)
        return [step for step in plan.steps if key(step) == str(one)]

    found = steps(wanted, view)
    assert steps(alone, only) == found
    foreign = Endpoint(network_id="somebody-elses", aliases=frozenset({"x"}))
    wired = tuple(replace(each, endpoints=(*each.endpoints, foreign)) for each in view.containers)
    assert steps(wanted, replace(view, containers=wired)) == found


@examples(300)
@given(assignments(), views(), st.sets(st.integers(1, 5)))
def test_nothing_is_planned_for_what_is_worked_on_or_did_not_answer(
    wanted: list[ContainerAssignment], view: EngineView, away: set[int]
) -> None:
    ids = {assigned(n).container_id for n in away}
    everything = plan_node(wanted, view, {}, NOW)
    for plan in (
        plan_node(wanted, view, {}, NOW, busy=ids),
        plan_node(wanted, replace(view, unknown=frozenset(ids)), {}, NOW),
    ):
        kept = [step for step in plan.steps if not isinstance(step, RemoveNetwork)]
        assert kept == [
            step
            for step in everything.steps
            if not isinstance(step, RemoveNetwork) and getattr(step, "container_id", None) not in ids
        ]
        removed = {key(step) for step in plan.steps if isinstance(step, RemoveNetwork)}
        assert removed <= {key(step) for step in everything.steps if isinstance(step, RemoveNetwork)}
