"""Worlds that lean to what a planted bug needs, where that is rare in others."""

from __future__ import annotations

from domain.spec import Binding, CrashPolicy, Strategy
from tests.simulation.knobs import Leaning
from tests.simulation.users import DOING

LEANINGS: dict[str, Leaning] = {
    "the gone keep their volumes": Leaning(
        knobs={"services": 1, "user_every": 0.5, "farewell": True},
        spec={"bindings": (Binding(container_path="/data"),)},
        doing={"redeploy": 10, "scale": 10, "image": 10},
    ),
    "who was stopped has no turn": Leaning(
        knobs={"services": 1, "user_every": 0.7, "farewell": False, "calm": True, "kinds": (), "seconds": 6.0},
        spec={
            "image": "app:1",
            "sequential_deployment": True,
            "deployment_strategy": Strategy.EMPTIEST_NODE,
            "autodestroy": CrashPolicy.OFF,
            "ports": (),
        },
        doing={each: 0 for each in DOING} | {"halt": 1, "scale": 1},
    ),
    "who ended is waited for": Leaning(
        knobs={"services": 1, "user_every": 0.7, "farewell": False, "kinds": (), "lost_notices": 0.5, "seconds": 12.0},
        spec={
            "image": "job:1",
            "autorestart": CrashPolicy.OFF,
            "autoreplace": CrashPolicy.OFF,
            "autodestroy": CrashPolicy.OFF,
        },
        doing={each: 0 for each in DOING} | {"start": 1, "stop": 2},
    ),
}
