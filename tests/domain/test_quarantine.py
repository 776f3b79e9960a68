"""Which differences between a node and the record an operator is asked about, and what an answer counts for."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.assignment import EngineInfo, Position, Strangers
from domain.quarantine import Cause, Word, answer, answered, contained, identity, position_key, quarantine

NODE, FIRST, SECOND, THIRD = (UUID(int=n) for n in range(1, 5))
ENGINE = EngineInfo(
    engine_id="AAAA:BBBB",
    version="20.10",
    storage_driver="overlay2",
    cpus=2,
    memory=4096,
    place="host-1:/var/lib/docker",
)
STRANGERS = Strangers(count=9, owned=10, key="k", names=("web-1", "web-2"))


def at(lineage: UUID, revision: int) -> Position:
    return Position(node_id=NODE, lineage=lineage, revision=revision)


@pytest.mark.parametrize(
    ("seen", "now", "restored", "well"),
    [
        (at(FIRST, 5), at(FIRST, 5), None, True),
        (at(FIRST, 5), at(FIRST, 9), None, True),
        (at(FIRST, 5), at(FIRST, 4), None, False),  # put back without ./tutela restore
        (at(FIRST, 5), at(SECOND, 2), at(FIRST, 5), True),
        (at(FIRST, 6), at(SECOND, 99), at(FIRST, 5), False),  # however far the new line has gone
        (at(SECOND, 1), at(THIRD, 9), at(FIRST, 9), False),  # a restore of a backup from before the restore
        (at(SECOND, 1), at(FIRST, 9), None, False),
    ],
)
def test_whether_the_record_has_all_that_the_agent_was_told(
    seen: Position, now: Position, restored: Position | None, well: bool
) -> None:
    assert contained(seen, now=now, restored=restored) is well


def test_an_engine_is_its_id_and_its_data() -> None:
    assert identity(replace(ENGINE, place="renamed:/var/lib/docker")) == identity(ENGINE)
    assert identity(replace(ENGINE, place="host-1:/mnt/docker")) != identity(ENGINE)
    assert identity(replace(ENGINE, engine_id="CCCC")) != identity(ENGINE)
    assert identity(None) == ""


def test_the_first_cause_is_told_and_says_what_to_do() -> None:
    own, other = identity(ENGINE), replace(ENGINE, engine_id="CCCC")
    known = {"accepted": own, "engine": other, "ahead": at(FIRST, 7), "strangers": STRANGERS}
    said = []
    for gone in ("", "engine", "ahead", "strangers"):
        known |= {"engine": ENGINE} if gone == "engine" else {gone: None} if gone else {}
        found = quarantine("n1", **known)  # type: ignore[arg-type]
        said.append(found and (found.cause, found.closed, found.key))
        assert found is None or "./tutela node " in found.remedy
    assert said == [
        (Cause.ENGINE, True, "CCCC:/var/lib/docker"),
        (Cause.RECORD, True, position_key(at(FIRST, 7))),
        (Cause.STRANGERS, False, "k"),
        None,
    ]


def test_what_is_not_known_is_no_cause() -> None:
    assert quarantine("n1", accepted="", engine=ENGINE, ahead=None, strangers=None) is None
    assert quarantine("n1", accepted=identity(ENGINE), engine=None, ahead=None, strangers=None) is None


@given(st.sampled_from(Word), st.text(), st.text())
def test_an_answer_is_for_one_question(word: Word, key: str, other: str) -> None:
    assert answered(answer(word, key), key) is word
    assert (answered(answer(word, key), other) is None) is (key != other)
    assert answered("", key) is None


def test_a_word_counts_for_exactly_what_it_names() -> None:
    said = answer(Word.KEEP, "line/7")
    assert said == "keep line/7"
    assert answered(said, "line/7") is Word.KEEP
    assert answered(answer(Word.REMOVE, "line/7"), "line/7") is Word.REMOVE
    assert answered(said, "line/8") is None
    assert answered("", "line/7") is None
