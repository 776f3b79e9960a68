"""Who may do what, and what an action's record allows afterwards (RELIABILITY S4, S6, S23; spec 4.2)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.access import Right, Role, Via, at_most, least, refusal
from domain.action import ENDED, Action, ActionState, Request, can_be_canceled, can_be_retried
from tests.planning.model import START, number

ROLES = (Role.READ_ONLY, Role.MEMBER, Role.ADMIN)
MAY = {
    Right.OPEN: set(ROLES),
    Right.READ: set(ROLES),
    Right.WRITE: {Role.MEMBER, Role.ADMIN},
    Right.ACCOUNT: {Role.MEMBER, Role.ADMIN},
    Right.ADMIN: {Role.ADMIN},
    Right.METRICS: {Role.ADMIN},
}


@pytest.mark.parametrize("right", list(Right))
@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("via", list(Via))
def test_every_cell_of_role_and_right(right: Right, role: Role, via: Via) -> None:
    why = refusal(role, via, right)
    if via is Via.CONTAINER and right in {Right.ACCOUNT, Right.ADMIN, Right.METRICS}:
        assert why == "a container's token does not administer: use an API key"
    elif role in MAY[right]:
        assert why is None
    else:
        assert why is not None
        needed = min((each for each in MAY[right]), key=ROLES.index)
        assert why == f"this needs the role {needed.value}; this key or user has {role.value}"


def test_the_lesser_of_role_and_scope_counts() -> None:
    assert least(Role.ADMIN, Role.READ_ONLY) is Role.READ_ONLY
    assert least(Role.MEMBER, Role.ADMIN) is Role.MEMBER
    assert least(Role.MEMBER, Role.MEMBER) is Role.MEMBER


@given(st.sampled_from(ROLES), st.sampled_from(ROLES))
def test_a_key_never_gives_more_than_its_owner_or_its_scope(role: Role, scope: Role) -> None:
    given_ = least(role, scope)
    assert given_ in {role, scope}
    assert at_most(given_, role)
    assert at_most(given_, scope)


def action(verb: str = "Service Stop", state: ActionState = ActionState.FAILED, **request: object) -> Action:
    base = Action(
        id=number(1),
        account_id=number(2),
        service_id=None,
        verb=verb,
        object_uri="/api/v1/service/x/",
        state=state,
        request=Request(),
        start_date=START,
    )
    return replace(base, request=replace(base.request, **request))  # type: ignore[arg-type]


@pytest.mark.parametrize("state", list(ActionState))
def test_an_action_is_repeated_when_it_has_ended_and_canceled_before(state: ActionState) -> None:
    assert can_be_retried(action(state=state)) is (state in ENDED)
    assert can_be_canceled(action(state=state)) is (state in {ActionState.PENDING, ActionState.IN_PROGRESS})
    assert not can_be_canceled(action("Service Terminate", state))


def test_what_needs_a_body_or_was_no_users_is_not_repeated() -> None:
    assert not can_be_retried(action(body="{}"))
    assert not can_be_retried(action(is_user_action=False))
    assert not can_be_retried(action("Service Create"))
    assert can_be_retried(action("Container Redeploy"))
    assert can_be_retried(action("Stack Terminate"))
