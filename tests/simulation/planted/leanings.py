"""Worlds that lean to what a planted bug needs, where that is rare in others."""

from __future__ import annotations

from domain.spec import Binding
from tests.simulation.knobs import Leaning

LEANINGS: dict[str, Leaning] = {
    "the gone keep their volumes": Leaning(
        knobs={"services": 1, "user_every": 0.5, "farewell": True},
        spec={"bindings": (Binding(container_path="/data"),)},
        doing={"redeploy": 10, "scale": 10, "image": 10},
    ),
}
