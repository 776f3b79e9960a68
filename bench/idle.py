"""What a control plane with 30 containers costs while nothing happens: `./tutela bench idle [seconds]`.

One process with all roles, ten services of three containers. CPU is the process's own time over the wall clock, in
percent of one core; memory is its resident set. The database's processes are not in it.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from bench._stage import stage
from tests.harness.images import SLEEPER
from tests.harness.server import TutelaProcess
from tests.harness.wait import wait_for

SERVICES, EACH = 10, 3
SETTLE_SECONDS = 10


def cpu_seconds(pid: int) -> float:
    """User and system time of a process (proc(5), fields 14 and 15)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident(pid: int) -> float:
    """Megabytes of its resident set."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def fill(server: TutelaProcess) -> float:
    """Start the services; seconds until all containers run."""
    began = time.perf_counter()
    uuids = []
    for number in range(SERVICES):
        body = {"image": SLEEPER, "name": f"idle-{number}", "target_num_containers": EACH, "autorestart": "ALWAYS"}
        uuid = server.api.post("/api/v1/service/", json=body).json["uuid"]
        assert server.api.post(f"/api/v1/service/{uuid}/start/").status == 202
        uuids.append(uuid)

    def all_run() -> bool:
        shown = [server.api.get(f"/api/v1/service/{uuid}/").json for uuid in uuids]
        return all(each["running_num_containers"] == EACH for each in shown)

    wait_for(all_run, timeout=120, what="all containers to run", every=0.1)
    return time.perf_counter() - began


def measure(server: TutelaProcess, seconds: float) -> None:
    """Print the table."""
    print(f"{SERVICES * EACH} containers Running after {fill(server):.1f} s")
    time.sleep(SETTLE_SECONDS)
    before, began = cpu_seconds(server.pid), time.monotonic()
    time.sleep(seconds)
    percent = (cpu_seconds(server.pid) - before) / (time.monotonic() - began) * 100
    memory = resident(server.pid)
    print(f"CPU      {percent:6.2f} %    bar <=   1: {'met' if percent <= 1 else 'MISSED'}   (over {seconds:.0f} s)")
    print(f"memory   {memory:6.1f} MB   bar <= 200: {'met' if memory <= 200 else 'MISSED'}")


def main() -> None:
    """Print the table."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    with stage() as (_engine, server):
        measure(server, seconds)


if __name__ == "__main__":
    main()
