"""The `tail` of the REST logs."""

from __future__ import annotations

from fastapi import Request

from app.wire.reading import Reading
from domain.errors import Invalid

DEFAULT_TAIL, MOST_TAIL = 300, 10_000


def read_tail(request: Request) -> int:
    """How many lines are wanted. Raises Invalid."""
    text = request.query_params.get("tail")
    if text in (None, ""):
        return DEFAULT_TAIL
    reading = Reading()
    number = reading.integer(text, "tail", low=1, high=MOST_TAIL)
    if number is None:
        raise Invalid(reading.errors)
    return number
