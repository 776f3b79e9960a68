"""How many examples a property is tried with: few in the suite, thousands by `./tutela properties N`."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

ASKED = os.environ.get("TUTELA_EXAMPLES")
"""So many for every property, whatever it asks for; unset: its own number."""

FIXED = "TUTELA_FIXED_EXAMPLES" in os.environ
"""The same examples each time: CI judges a change, and a measurement of the tests may not depend on luck."""


def load_profile() -> None:
    """The house's settings: a machine that runs engines beside the properties is now and then slow."""
    settings.register_profile(
        "house",
        deadline=None,
        max_examples=int(ASKED or 100),
        derandomize=FIXED,
        suppress_health_check=[HealthCheck.too_slow],
    )
    settings.load_profile("house")


def examples(usual: int) -> settings:
    """So many examples, unless another number is asked for on the command line."""
    return settings(max_examples=int(ASKED or usual))
