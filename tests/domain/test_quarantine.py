"""Which differences between a node and the record an operator is asked about, and what an answer counts for."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.assignment import EngineInfo, Position, Strangers
from domain.quarantine import Cause, Word, accepts, answer, answered, contained, identity, position_key, quarantine

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


def test_an_engine_that_came_back_empty_is_another_one() -> None:
    own, emptied = identity(ENGINE), replace(ENGINE, emptied=1)
    assert identity(emptied) != own
    found = quarantine("one", accepted=own, engine=emptied, ahead=None, strangers=None)
    assert found is not None
    assert (found.cause, found.closed, found.key) == (Cause.ENGINE, True, identity(emptied))
    assert "its disk is not mounted" in found.reason
    assert "mount its disk" in found.remedy
    assert "./tutela node accept-engine one" in found.remedy
    # Of another engine that was once emptied it says what it says of any.
    other = quarantine("one", accepted="other:/data", engine=emptied, ahead=None, strangers=None)
    assert other is not None
    assert "has another Docker engine" in other.reason
    assert quarantine("one", accepted=identity(emptied), engine=emptied, ahead=None, strangers=None) is None
    # An agent that lost its ledger has lost the count.
    assert quarantine("one", accepted=identity(emptied), engine=ENGINE, ahead=None, strangers=None) is None
    assert accepts(identity(emptied), ENGINE)
    assert not accepts(identity(ENGINE), emptied)
    again = quarantine("one", accepted=identity(emptied), engine=replace(ENGINE, emptied=2), ahead=None, strangers=None)
    assert again is not None
    assert "its disk is not mounted" in again.reason


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


def told(**known: object) -> tuple[str, str]:
    found = quarantine("n1", **{"accepted": "", "engine": None, "ahead": None, "strangers": None, **known})  # type: ignore[arg-type]
    assert found is not None
    return found.reason, found.remedy


def test_another_engine_is_told_with_both() -> None:
    long = replace(ENGINE, engine_id="ABCD:EFGH:IJKL:MNOP", place="host-1:/mnt/a:b")
    assert identity(long) == "ABCD:EFGH:IJKL:MNOP:/mnt/a:b"
    reason, remedy = told(accepted="WXYZ:", engine=replace(long, place="host-1:/mnt/docker"))
    assert reason == (
        "node n1 has another Docker engine, or another data directory, than it joined with (now ABCD:EFGH:IJKL in"
        " /mnt/docker, was WXYZ): nothing is made or removed there, and what is shown of its containers is out of date"
    )
    assert remedy == (
        "bring the old engine back; or, when it will not come back, have its containers made anew on this one:"
        " ./tutela node accept-engine n1"
    )
    reason, _ = told(accepted="ABCDEFGHIJKLMNOPQ:", engine=long)
    assert "was ABCDEFGHIJKLMN):" in reason


def test_a_record_that_is_older_is_told_with_where_it_is() -> None:
    reason, remedy = told(ahead=at(FIRST, 7))
    assert reason == (
        "node n1 was told more than this record knows (revision 7 of line 00000000): the database was restored from a"
        " backup. It goes on with what it was told last; nothing that is newer than the backup is removed"
    )
    assert remedy == (
        "restore a newer backup; or go on with this one: ./tutela node release n1 removes what the record does not"
        " know, ./tutela node keep n1 leaves it running, without Tutela"
    )


def test_containers_that_nothing_asks_for_are_told_by_name() -> None:
    reason, remedy = told(strangers=STRANGERS)
    assert reason == (
        "9 of 10 containers on node n1 are Tutela's, but nothing asks for them, and no user had them removed"
        " (web-1, web-2, and 7 more): they are left as they are"
    )
    assert remedy == (
        "find out why; then ./tutela node release n1 to have them removed, or ./tutela node keep n1 to leave them"
        " running, without Tutela"
    )
    reason, _ = told(strangers=replace(STRANGERS, count=2))
    assert "(web-1, web-2):" in reason


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
