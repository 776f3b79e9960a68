"""What an action keeps of a body."""

from __future__ import annotations

from typing import Any

import pytest

from app.api.bodies import for_record


@pytest.mark.parametrize("key", ["container_envvars", "environment"])
@pytest.mark.parametrize(
    "variables",
    [
        [{"key": "A", "value": "canary"}],
        ["A=canary"],
        {"A": "canary"},
        "A=canary",
        [{"A": "canary"}],
        {"key": "canary", "origin": "canary"},
    ],
)
def test_values_of_variables_are_not_kept_in_any_form_right_or_wrong(key: str, variables: Any) -> None:
    kept = for_record({"name": "s", "services": [{"name": "web", key: variables}]})
    assert "canary" not in kept
    assert '"web"' in kept
