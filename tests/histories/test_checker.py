"""The checker finds what is planted: lost, doubled, reordered, invented; and finds nothing where nothing is wrong."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.histories.checker import check
from tests.histories.history import NEVER, ActionRow, Again, Final, History, Kind, Op, Outcome, Read, Row


def op(kind: Kind, at: float, **more: object) -> Op:
    """Answered a second later, with an action named after its time."""
    given = {"ended": at + 1, "outcome": Outcome.OK, "action": f"a{at:g}", "key": f"k{at:g}", **more}
    return Op(kind=kind, name="web", invoked=at, **given)  # type: ignore[arg-type]


def unknown(op: Op) -> Op:
    """The same, never answered."""
    return replace(op, outcome=Outcome.UNKNOWN, ended=NEVER, action=None)


CREATE = op(Kind.CREATE, 0, values={"target": 1, "run_command": "first"})
ADD = op(Kind.ADD, 2, amount=2)
SECOND = op(Kind.PATCH, 4, values={"run_command": "second"})
THIRD = op(Kind.PATCH, 6, values={"run_command": "third"})
VERBS = {"a0": "Service Create", "a2": "Service Scale", "a4": "Service Update", "a6": "Service Update"}
MAYBE_ADD = unknown(op(Kind.ADD, 3, amount=5))
MAYBE_PATCH = unknown(op(Kind.PATCH, 3, values={"run_command": "late"}))
DELETE = op(Kind.DELETE, 20)


def action(name: str, verb: str | None = None) -> ActionRow:
    return ActionRow(id=name, name="web", verb=verb or VERBS[name], failed=False)


def final(*, target: int = 3, command: str = "third", more: tuple[ActionRow, ...] = (), gone: bool = False) -> Final:
    """What the four answered operations lead to."""
    row = Row(name="web", terminated=gone, registers={"target": target, "run_command": command})
    return Final(services=(row,), actions=(*map(action, VERBS), *more))


def history(*more: Op, reads: tuple[Read, ...] = ()) -> History:
    return History(ops=[CREATE, ADD, SECOND, THIRD, *more], reads=list(reads))


def read(at: float, found: int = 1, **registers: str | int) -> Read:
    return Read(name="web", invoked=at, ended=at + 0.5, found=found, registers=registers)


RIGHT = {
    "all answered": (history(), final()),
    "unknown and not done": (history(MAYBE_ADD, MAYBE_PATCH), final()),
    "unknown and done": (history(MAYBE_ADD), final(target=8, more=(action("x", "Service Scale"),))),
    "unknown and done much later": (
        history(MAYBE_PATCH),
        final(command="late", more=(action("x", "Service Update"),)),
    ),
    "refused": (history(replace(MAYBE_ADD, outcome=Outcome.FAIL)), final()),
    "two at once, either last": (
        history(replace(op(Kind.PATCH, 5.5, values={"run_command": "beside"}), ended=6.5)),
        final(command="beside", more=(action("a5.5", "Service Update"),)),
    ),
    "read while it is written": (
        history(reads=(read(6.2, run_command="second"), read(6.8, run_command="third"))),
        final(),
    ),
    "deleted": (history(DELETE), final(target=0, gone=True, more=(action("a20", "Service Terminate"),))),
    "a creation that is unknown and was not done": (
        History(ops=[unknown(CREATE)]),
        Final(services=(), actions=()),
    ),
}  # fmt: skip
WRONG = {
    "a create is lost": (history(), Final(services=(), actions=final().actions), "lost: its creation"),
    "a create is doubled": (history(), replace(final(), services=[*final().services] * 2), "there 2 times"),
    "an unknown create is doubled": (
        History(ops=[unknown(CREATE)]),
        Final(services=[*final(target=1, command="first").services] * 2, actions=(action("a0"),)),
        "there 2 times",
    ),
    "a refused create is there": (
        History(ops=[replace(CREATE, outcome=Outcome.FAIL)]),
        Final(services=final().services, actions=()),
        "there 1 times",
    ),
    "nobody made it": (History(), Final(services=final().services, actions=()), "there 1 times"),
    "an addition is lost": (history(), final(target=1), "no such exist"),
    "an addition is doubled": (history(), final(target=5), "no such exist"),
    "an unknown addition is doubled": (
        history(MAYBE_ADD),
        final(target=13, more=(action("x", "Service Scale"), action("y", "Service Scale"))),
        "3 actions Service Scale",
    ),
    "an unknown addition has an action and no effect": (
        history(MAYBE_ADD),
        final(more=(action("x", "Service Scale"),)),
        "no such exist",
    ),
    "a patch is lost": (history(), final(command="second"), "lost: 'second' was overwritten"),
    "patches are reordered": (history(), final(command="first"), "lost: 'first' was overwritten"),
    "a refused patch took effect": (
        history(replace(MAYBE_PATCH, outcome=Outcome.FAIL)),
        final(command="late"),
        "nobody had written",
    ),
    "a patch has two actions": (history(), final(more=(action("x", "Service Update"),)), "3 actions Service Update"),
    "an action is lost": (
        history(),
        replace(final(), actions=[each for each in final().actions if each.id != "a4"]),
        "lost: the action of an answer",
    ),
    "an action is of another request": (
        history(replace(MAYBE_ADD, outcome=Outcome.OK, ended=4, action="a2")),
        final(target=8, more=(action("x", "Service Scale"),)),
        "two answers name one action",
    ),
    "a deletion is lost": (history(DELETE), final(more=(action("a20", "Service Terminate"),)), "lost: its deletion"),
    "nobody deleted it": (history(), final(target=0, gone=True), "nobody deleted it"),
    "accepted after the deletion": (
        history(DELETE, op(Kind.PATCH, 30, values={"run_command": "late"})),
        final(
            target=0,
            command="late",
            gone=True,
            more=(action("a20", "Service Terminate"), action("a30", "Service Update")),
        ),
        "accepted after its deletion",
    ),
    "not in a list": (history(reads=(read(1.5, found=0),)), final(), "not in the list"),
    "twice in a list": (history(reads=(read(1.5, found=2),)), final(), "2 times in the list"),
    "an old value is read": (history(reads=(read(8, run_command="second"),)), final(), "lost: 'second'"),
    "a value is read before it is written": (history(reads=(read(4.5, run_command="third"),)), final(), "nobody had"),
    "a value comes back": (
        history(
            replace(MAYBE_PATCH, ended=NEVER),
            reads=(read(8, run_command="third"), read(9, run_command="late"), read(10, run_command="third")),
        ),
        final(more=(action("x", "Service Update"),)),
        "went back to 'third'",
    ),
    "too little is read": (history(reads=(read(8, target=1),)), final(), "must be from 3 to 3"),
    "an addition comes and goes": (
        history(MAYBE_ADD, reads=(read(8, target=8), read(9, target=3))),
        final(),
        "target went back",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("recorded", "there"), RIGHT.values(), ids=RIGHT)
def test_what_can_have_been_is_explained(recorded: History, there: Final) -> None:
    assert check(recorded, there) == []


@pytest.mark.parametrize(("recorded", "there", "problem"), WRONG.values(), ids=WRONG)
def test_what_is_planted_is_found(recorded: History, there: Final, problem: str) -> None:
    assert any(problem in each for each in check(recorded, there))


@pytest.mark.parametrize("change", [{"action": "other"}, {"marked": False}, {"status": 409}])
def test_another_answer_to_the_same_key_is_found(change: dict[str, object]) -> None:
    recorded = history()
    right = Again(key="k2", action="a2", status=202, marked=True)
    recorded.again.append(right)
    assert check(recorded, final()) == []
    recorded.again.append(replace(right, **change))  # type: ignore[arg-type]
    assert any("not answered as the first time" in each for each in check(recorded, final()))
