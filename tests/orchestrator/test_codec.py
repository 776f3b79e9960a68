"""Values from texts: the same as from data, and read once."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic_core import to_json

from domain.container import BoundPort, ContainerSpec, Mount, Observed, Seen
from domain.spec import Transport
from orchestrator.store import codec

SPEC = ContainerSpec(
    image="web:1",
    image_id="sha256:web",
    image_digest=None,
    hostname="web-1",
    user_env=(("A", "1"), ("B", "äöü\u2028")),
    command=("run", "it"),
    ports=(BoundPort(protocol=Transport.TCP, inner_port=80, outer_port=49153),),
    mounts=(Mount(source="v1", target="/data", volume=True, own=True),),
)
SEEN = Observed(state=Seen.EXITED, exit_code=3, started_at=datetime(2026, 11, 28, 1, 2, 3, 456789, UTC), message="why")


@pytest.mark.parametrize(("adapter", "value"), [(codec.CONTAINER_SPEC, SPEC), (codec.OBSERVED, SEEN)])
def test_a_text_gives_what_its_data_gives(adapter: Any, value: object) -> None:
    data = codec.dump(adapter, value)
    assert codec.load(adapter, to_json(data).decode()) == codec.load(adapter, data) == value
    assert codec.load(adapter, None) is None


def test_a_text_is_read_once_unless_it_is_long() -> None:
    text = to_json(codec.dump(codec.CONTAINER_SPEC, SPEC)).decode()
    assert codec.load(codec.CONTAINER_SPEC, text) is codec.load(codec.CONTAINER_SPEC, "".join(text))
    large = replace(SPEC, user_env=(("A", "x" * codec.LONGEST_REMEMBERED),))
    text = to_json(codec.dump(codec.CONTAINER_SPEC, large)).decode()
    first, second = codec.load(codec.CONTAINER_SPEC, text), codec.load(codec.CONTAINER_SPEC, text)
    assert first == second == large
    assert first is not second
