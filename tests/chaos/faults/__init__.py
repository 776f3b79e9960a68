"""Every kind of fault, by name. One module for each thing that is hit; a new kind is one more entry in its `FAULTS`."""

from __future__ import annotations

from tests.chaos.fault import Fault
from tests.chaos.faults import database, engines, hands, links, processes, users

FAULTS: dict[str, Fault] = {
    fault.name: fault for module in (processes, engines, database, links, hands, users) for fault in module.FAULTS
}
