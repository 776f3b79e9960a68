"""Ids of what users see."""

from __future__ import annotations

from uuid import UUID, uuid4

_READ_AS_A_NUMBER = frozenset("0123456789e")


def new_id() -> UUID:
    """A random id whose first eight characters nobody takes for a number.

    Tools show these eight and people type them. The original command line prints its tables with a library that reads
    a column such as `37e16216` or `00123456` as numbers and shows `inf` or `123456`: one id in twenty could not be
    read from `tutum ps`, nor sorted or filtered as text in a spreadsheet.
    """
    while True:
        found = uuid4()
        if not _READ_AS_A_NUMBER.issuperset(found.hex[:8]):
            return found
