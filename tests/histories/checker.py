"""Explains a final state by the history of calls, or says what it cannot explain. Pure.

An operation with outcome OK took effect once, at a moment between its invocation and its end; UNKNOWN took effect at
most once, at any time after its invocation; FAIL never did (Jepsen's three outcomes).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

from tests.histories.history import VERBS, Again, Final, History, Kind, Op, Outcome, Read, Row

TARGET = "target"


def check(history: History, final: Final) -> list[str]:
    """A sentence for each thing that the history does not explain; empty: nothing was lost, nothing done twice."""
    return list(_problems(history, final))


def _problems(history: History, final: Final) -> Iterator[str]:
    ops: dict[str, list[Op]] = defaultdict(list)
    reads: dict[str, list[Read]] = defaultdict(list)
    rows: dict[str, list[Row]] = defaultdict(list)
    actions: dict[str, Counter[str]] = defaultdict(Counter)
    for op in history.ops:
        ops[op.name].append(op)
    for read in history.reads:
        reads[read.name].append(read)
    for row in final.services:
        rows[row.name].append(row)
    for action in final.actions:
        if not action.failed:
            actions[action.name][action.verb] += 1
    for name in sorted(ops.keys() | rows.keys() | actions.keys()):
        for problem in _of_service(ops[name], reads[name], rows[name], actions[name]):
            yield f"{name}: {problem}\n" + "\n".join(f"    {op}" for op in ops[name])
    yield from _answers(history.ops, final)
    yield from _again(history.ops, history.again)


def _of_service(
    ops: Sequence[Op], reads: Sequence[Read], rows: Sequence[Row], actions: Mapping[str, int]
) -> Iterator[str]:
    done, maybe = _by_outcome(ops)
    least, most = len(done[Kind.CREATE]), len(done[Kind.CREATE]) + len(maybe[Kind.CREATE])
    if len(rows) < least:
        yield "lost: its creation was answered, and it is not there"
    if len(rows) > most:
        yield f"there {len(rows)} times, and was created {most} times at most"
    for kind, verb in VERBS.items():
        counted, least = actions.get(verb, 0), len(done[kind])
        if not least <= counted <= least + len(maybe[kind]):
            yield f"{counted} actions {verb} for {least} answered and {len(maybe[kind])} unknown ones"
    yield from _seen(done, reads, most)
    for row in rows[:1]:
        yield from _deleted(done, maybe, row)
        yield from _registers(ops, reads, row)
        if not row.terminated:
            yield from _sum(ops, row, actions.get(VERBS[Kind.ADD], 0))
        yield from _sums(ops, reads)


Ops = dict[Kind, list[Op]]


def _by_outcome(ops: Sequence[Op]) -> tuple[Ops, Ops]:
    done: Ops = {kind: [] for kind in Kind}
    maybe: Ops = {kind: [] for kind in Kind}
    for op in ops:
        if op.outcome is Outcome.OK:
            done[op.kind].append(op)
        elif op.outcome is Outcome.UNKNOWN:
            maybe[op.kind].append(op)
    return done, maybe


def _seen(done: Ops, reads: Sequence[Read], most: int) -> Iterator[str]:
    """A list that was asked for after the creation was answered has it, once."""
    since = min((op.ended for op in done[Kind.CREATE]), default=None)
    for read in reads:
        if since is not None and read.invoked > since and read.found == 0:
            yield f"not in the list at {read.invoked:.3f}, though its creation was answered at {since:.3f}"
        if read.found > most:
            yield f"{read.found} times in the list at {read.invoked:.3f}"


def _deleted(done: Ops, maybe: Ops, row: Row) -> Iterator[str]:
    deletes = done[Kind.DELETE]
    if deletes and not row.terminated:
        yield "lost: its deletion was answered, and it is there"
    if row.terminated and not deletes and not maybe[Kind.DELETE]:
        yield "gone, and nobody deleted it"
    gone = min((op.ended for op in deletes), default=None)
    for op in (*done[Kind.PATCH], *done[Kind.ADD]):
        if gone is not None and op.invoked > gone:
            yield f"{op.kind} at {op.invoked:.3f} was accepted after its deletion at {gone:.3f}"


def _registers(ops: Sequence[Op], reads: Sequence[Read], row: Row) -> Iterator[str]:
    """Each register holds what was written last: by somebody whose write nobody overwrote, in real time."""
    names = {register for op in ops if op.kind is Kind.PATCH for register in op.values}
    for register in sorted(names):
        writes = [op for op in ops if register in op.values and op.outcome is not Outcome.FAIL]
        looks = sorted((read for read in reads if register in read.registers), key=lambda read: read.invoked)
        for read in looks:
            why = _unexplained(writes, register, read.registers[register], read.invoked, read.ended)
            if why:
                yield f"{register} at {read.invoked:.3f}-{read.ended:.3f}: {why}"
        yield from _went_back(register, looks)
        if not (register == TARGET and row.terminated):
            why = _unexplained(writes, register, row.registers[register])
            if why:
                yield f"{register} in the end: {why}"


def _unexplained(
    writes: Sequence[Op], register: str, value: str | int, invoked: float = float("inf"), ended: float = float("inf")
) -> str | None:
    """Why a reading between the two times cannot have this value; None: it can."""
    found = [op for op in writes if op.values[register] == value and op.invoked <= ended]
    if not found:
        return f"nobody had written {value!r}"
    for write in found:
        later = [op for op in writes if op.outcome is Outcome.OK and write.ended < op.invoked and op.ended < invoked]
        if not later:
            return None
    return f"lost: {value!r} was overwritten by an answered write"


def _went_back(register: str, looks: Sequence[Read]) -> Iterator[str]:
    """A value that was replaced does not come back: each is written once. Of readings one after the other."""
    left: set[str | int] = set()
    last: Read | None = None
    for read in looks:
        if last is not None and read.invoked <= last.ended:
            continue
        value = read.registers[register]
        if value in left:
            yield f"{register} went back to {value!r} at {read.invoked:.3f}"
        if last is not None and last.registers[register] != value:
            left.add(last.registers[register])
        last = read


def _adds(ops: Sequence[Op]) -> tuple[int, list[Op], list[Op]] | None:
    """The first target, and the answered and unknown additions; None where the target is written by patches too."""
    if any(TARGET in op.values for op in ops if op.kind is Kind.PATCH):
        return None
    begins = [int(op.values[TARGET]) for op in ops if op.kind is Kind.CREATE and op.outcome is not Outcome.FAIL]
    done, maybe = _by_outcome(ops)
    return (begins[0], done[Kind.ADD], maybe[Kind.ADD]) if begins else None


def _sum(ops: Sequence[Op], row: Row, counted: int) -> Iterator[str]:
    """The target is the first one, all answered additions, and as many unknown ones as have an action."""
    found = _adds(ops)
    if found is None:
        return
    begin, done, maybe = found
    rest, number = int(row.registers[TARGET]) - begin - sum(op.amount for op in done), counted - len(done)
    reachable = {(0, 0)}
    for op in maybe:
        reachable |= {(taken + 1, total + op.amount) for taken, total in reachable}
    if (number, rest) not in reachable:
        yield (
            f"target {row.registers[TARGET]} is {begin} and the answered additions, and {rest} more, by {number} of"
            f" {len(maybe)} unknown ones: no such exist"
        )


def _sums(ops: Sequence[Op], reads: Sequence[Read]) -> Iterator[str]:
    """What was read of the target on the way: all that was answered before, nothing that was asked later, and never
    less than before. Not once it is being deleted: that sets it to 0."""
    found = _adds(ops)
    if found is None:
        return
    begin, done, maybe = found
    deleting = min((op.invoked for op in ops if op.kind is Kind.DELETE), default=float("inf"))
    last: Read | None = None
    for read in sorted(reads, key=lambda read: read.invoked):
        if TARGET not in read.registers or read.ended >= deleting:
            continue
        value = int(read.registers[TARGET])
        least = begin + sum(op.amount for op in done if op.ended < read.invoked)
        most = begin + sum(op.amount for op in (*done, *maybe) if op.invoked <= read.ended)
        if not least <= value <= most:
            yield f"target {value} at {read.invoked:.3f}, and it must be from {least} to {most}"
        if last is not None and read.invoked > last.ended and value < int(last.registers[TARGET]):
            yield f"target went back to {value} at {read.invoked:.3f}"
        last = read if last is None or read.ended > last.ended else last


def _answers(ops: Sequence[Op], final: Final) -> Iterator[str]:
    """Each answer names an action of its own, which is there."""
    there = {action.id: action for action in final.actions}
    named: dict[str, Op] = {}
    for op in ops:
        if op.outcome is not Outcome.OK:
            continue
        action = there.get(op.action or "")
        if action is None:
            yield f"lost: the action of an answer is not there: {op}"
        elif (action.name, action.verb, action.failed) != (op.name, VERBS[op.kind], False):
            yield f"the action of an answer is another one: {action}: {op}"
        if op.action in named:
            yield f"two answers name one action: {op}; {named[op.action]}"
        if op.action:
            named[op.action] = op


def _again(ops: Sequence[Op], again: Sequence[Again]) -> Iterator[str]:
    """What is sent again with its key has the answer of the first time, and says so."""
    first = {op.key: op for op in ops if op.key and op.outcome is Outcome.OK}
    for each in again:
        op = first[each.key]
        if not each.marked or each.status >= 300 or each.action != op.action:
            yield f"sent again, and not answered as the first time: {each}: {op}"
