"""Ids as tools print and read them."""

from __future__ import annotations

from contextlib import suppress

from orchestrator.ids import new_id


def test_the_first_eight_characters_of_an_id_are_never_a_number() -> None:
    """Nothing that reads text as a number where it can (tables, spreadsheets) changes how an id is shown."""
    for _ in range(2000):
        short = str(new_id())[:8]
        with suppress(ValueError):
            raise AssertionError(f"{short} is read as {float(short)}")


def test_ids_are_of_the_random_kind() -> None:
    assert {(found.version, found.variant) for found in (new_id() for _ in range(20))} == {(4, "specified in RFC 4122")}
