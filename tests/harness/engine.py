"""A Docker engine of our own in a network namespace of its own: never the user's.

The recipe is RELIABILITY section 6: a holder process keeps the namespaces alive, so that containerd and the shims
survive a kill -9 of dockerd, as they would on a host.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections import deque
from pathlib import Path

import docker

from tests.harness.claims import claim
from tests.harness.wait import wait_for

_PREFIX = "tutela-test"
_NETWORKS = "data/network/files/local-kv.db"
_PANIC = "libnetwork.(*controller).reservePools"
_count = 0


def run(*argv: str, check: bool = True, timeout: float = 60) -> str:
    """Run a command; returns what it printed."""
    done = subprocess.run(argv, check=False, timeout=timeout, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(argv)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


class Lan:
    """A bridge that several engines are on, so that they reach each other as hosts do.

    It has a network namespace of its own: in the machine's, the rules of an engine that runs there would drop what
    crosses the bridge (bridge-nf-call-iptables, and docker's policy DROP for FORWARD).
    """

    def __init__(self) -> None:
        global _count
        _count += 1
        block = claim("net-512", 512)
        self._net = f"10.{209 + block // 256}.{block % 256}"
        self._hosts, self._ports = 1, 0
        self.address = f"{self._net}.1"
        self._name = f"{_PREFIX}-{os.getpid()}-{_count}-lan"
        self._link = f"tt{os.getpid() % 100000}x{_count}"

    def start(self) -> None:
        """Make the bridge; the test's own namespace is on it too, as the first host."""
        run("ip", "netns", "add", self._name)
        run("ip", "-n", self._name, "link", "add", "lan", "type", "bridge")
        run("ip", "-n", self._name, "link", "set", "lan", "up")
        self.plug(self._link)
        run("ip", "addr", "add", f"{self.address}/24", "dev", self._link)
        run("ip", "link", "set", self._link, "up")

    def plug(self, link: str, netns: str | None = None) -> str:
        """Make an interface (in a namespace) whose other end is in the bridge; returns the bridge's port."""
        port = f"p{self._ports}"
        self._ports += 1
        run("ip", "-n", self._name, "link", "add", port, "type", "veth", "peer", "name", link,
            "netns", netns or str(os.getpid()))  # fmt: skip
        run("ip", "-n", self._name, "link", "set", port, "master", "lan", "up")
        return port

    def cut(self, port: str) -> None:
        """As if the cable were pulled out: nothing passes, and nobody is told."""
        run("ip", "-n", self._name, "link", "set", port, "down")

    def heal(self, port: str) -> None:
        """The cable is in again."""
        run("ip", "-n", self._name, "link", "set", port, "up")

    def host(self) -> str:
        """An address for one more host."""
        self._hosts += 1
        return f"{self._net}.{self._hosts}"

    def stop(self) -> None:
        """Take it away."""
        run("ip", "link", "del", self._link, check=False)
        run("ip", "netns", "del", self._name, check=False)


class PrivateEngine:
    """dockerd with its containerd in namespaces of its own; reachable by a unix socket and, over veth, by address.

    With a `lan` it is on that, and reaches the other engines there. `disk`: its data directory is a file system of its
    own, of so many MB.
    """

    def __init__(
        self, *, live_restore: bool = False, extra: tuple[str, ...] = (), lan: Lan | None = None, disk: int = 0
    ) -> None:
        global _count
        _count += 1
        self._name = f"{_PREFIX}-{os.getpid()}-{_count}"
        self._dir = Path(tempfile.mkdtemp(prefix=f"{self._name}-"))
        self._dir.chmod(0o755)
        self.data, self._disk = self._dir / "data", disk
        self._arguments = [*extra, *(["--live-restore"] if live_restore else [])]
        self._holder: subprocess.Popen[bytes] | None = None
        self._dockerd: subprocess.Popen[bytes] | None = None
        block = claim("net-16000", 16000)
        self._net = f"10.{211 + block // 64 // 256}.{block // 64 % 256}.{block % 64 * 4}"
        head, _, last = self._net.rpartition(".")
        self.host_address = f"{head}.{int(last) + 1}"
        self.address = f"{head}.{int(last) + 2}"
        self._prefix, self._lan = 30, lan
        if lan is not None:
            self.host_address, self.address, self._prefix = lan.address, lan.host(), 24
        self._port = ""
        self._clients: dict[int, docker.APIClient] = {}
        self.broken_stores = 0
        self._networks: deque[bytes] = deque(maxlen=3)
        self._link = f"tt{os.getpid() % 100000}x{_count}"

    @property
    def netns(self) -> str:
        """The path of its network namespace."""
        return f"/run/netns/{self._name}"

    @property
    def base_url(self) -> str:
        """For DOCKER_HOST."""
        return f"unix://{self._dir}/docker.sock"

    def client(self, timeout: int = 30) -> docker.APIClient:
        """A low-level client, kept until `stop`."""
        if timeout not in self._clients:
            api = docker.APIClient(self.base_url, version="1.41", timeout=timeout)
            api.trust_env = False
            self._clients[timeout] = api
        return self._clients[timeout]

    def start(self) -> None:
        """Bring up the namespaces and the engine."""
        cleanup_dead()
        run("ip", "netns", "add", self._name)
        if self._disk:
            self.data.mkdir()
            run("mount", "-t", "tmpfs", "-o", f"size={self._disk}m", "tmpfs", str(self.data))
        if self._lan is not None:
            self._port = self._lan.plug("eth0", self._name)
        else:
            run("ip", "link", "add", self._link, "type", "veth", "peer", "name", "eth0", "netns", self._name)
            run("ip", "addr", "add", f"{self.host_address}/30", "dev", self._link)
            run("ip", "link", "set", self._link, "up")
        inside = ("ip", "-n", self._name)
        run(*inside, "addr", "add", f"{self.address}/{self._prefix}", "dev", "eth0")
        run(*inside, "link", "set", "eth0", "up")
        run(*inside, "link", "set", "lo", "up")
        run(*inside, "route", "add", "default", "via", self.host_address)
        # There is no name server: a lookup is refused at once, where the machine's own may be a black hole.
        resolver = self._dir / "resolv.conf"
        resolver.write_text("nameserver 127.0.0.1\noptions attempts:1 timeout:1\n")
        log = (self._dir / "holder.log").open("ab")
        self._holder = subprocess.Popen(
            ["nsenter", f"--net=/run/netns/{self._name}", "unshare", "-m", "-u", "sh", "-c",
             "mount --make-rprivate / && mount -t tmpfs tmpfs /run && mount --bind \"$0\" /etc/resolv.conf"
             " && touch /run/ready && exec sleep infinity", str(resolver)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
        log.close()
        wait_for(lambda: self._ready() or None, timeout=30, what="the namespace")
        self.launch()

    def _ready(self) -> bool:
        assert self._holder is not None
        return Path(f"/proc/{self._holder.pid}/root/run/ready").exists()

    def launch(self) -> None:
        """Start dockerd (again)."""
        assert self._holder is not None
        (self._dir / "docker.pid").unlink(missing_ok=True)
        self._inside("rm", "-f", "/run/docker/containerd/containerd.pid")
        log = (self._dir / "dockerd.log").open("ab")
        pid = str(self._holder.pid)
        self._dockerd = subprocess.Popen(
            ["nsenter", "-t", pid, "-n", "-m", "-u", "dockerd",
             "--data-root", f"{self._dir}/data", "--exec-root", "/run/docker", "--pidfile", f"{self._dir}/docker.pid",
             "-H", f"unix://{self._dir}/docker.sock", "--cgroup-parent", f"/{self._name}",
             "--insecure-registry", "10.0.0.0/8", "--dns", "127.0.0.1", *self._arguments],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
        log.close()
        wait_for(lambda: self._answers() or None, timeout=120, what=f"dockerd ({self._dir}/dockerd.log)", every=0.05)

    def _answers(self) -> bool:
        assert self._dockerd is not None
        if self._dockerd.poll() is not None:
            raise RuntimeError((self._dir / "dockerd.log").read_text()[-2000:])
        try:
            self.client(timeout=3).version()
        except Exception:
            return False
        return True

    def _inside(self, *argv: str) -> None:
        assert self._holder is not None
        run("nsenter", "-t", str(self._holder.pid), "-n", "-m", "-u", *argv, check=False)

    def signal(self, number: int) -> None:
        """Send dockerd a signal (SIGSTOP, SIGCONT)."""
        assert self._dockerd is not None
        os.kill(self._dockerd.pid, number)

    def kill(self) -> None:
        """kill -9 of dockerd alone; containerd, shims and containers live on."""
        assert self._dockerd is not None
        self.keep_networks()
        self._dockerd.kill()
        self._dockerd.wait(timeout=30)

    def restart(self) -> None:
        """Start dockerd again after `kill` or `terminate`.

        One that ended while it took a network away never starts again by itself (E32): what it knew of networks before
        is put back, as its operator would have to. The newest copy may be of the same moment: then an older one.
        """
        for copy in [*reversed(self._networks), None]:
            try:
                self.launch()
            except RuntimeError:
                if copy is None or _PANIC not in self.log()[-10_000:]:
                    raise
                self.broken_stores += 1
                (self._dir / _NETWORKS).write_bytes(copy)
            else:
                return

    def keep_networks(self) -> None:
        """Keep what it knows of networks, for `restart`: the last three that were kept. Only while it answers."""
        if self._dockerd is not None and self._dockerd.poll() is None:
            self._networks.append((self._dir / _NETWORKS).read_bytes())

    def cut(self) -> None:
        """Cut its host off the lan. The engine's socket still answers."""
        assert self._lan is not None
        self._lan.cut(self._port)

    def heal(self) -> None:
        """The host is on the lan again."""
        assert self._lan is not None
        self._lan.heal(self._port)

    def drop(self, *rule: str, chain: str = "OUTPUT") -> None:
        """Make a black hole of what the host sends (or gets: INPUT): the words are iptables' own match."""
        run("nsenter", f"--net={self.netns}", "iptables", "-w", "-I", chain, *rule, "-j", "DROP")

    def undrop(self, *rule: str, chain: str = "OUTPUT") -> None:
        """Take the rule of `drop` away again."""
        run("nsenter", f"--net={self.netns}", "iptables", "-w", "-D", chain, *rule, "-j", "DROP")

    def processes(self, name: str) -> list[int]:
        """The pids of the engine's own processes: `dockerd`, `containerd`, `containerd-shim`."""
        found = []
        for pid in map(int, run("ip", "netns", "pids", self._name).split()):
            with contextlib.suppress(OSError):
                # The kernel cuts a name at 15 characters.
                if not _ended(pid) and Path(f"/proc/{pid}/comm").read_text().strip() == name[:15]:
                    found.append(pid)
        return found

    def shim_of(self, container_id: str) -> int:
        """The pid of the shim that holds the container."""
        for pid in self.processes("containerd-shim"):
            if container_id.encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                return pid
        raise AssertionError(f"no shim of {container_id}")

    def terminate(self) -> None:
        """SIGTERM of dockerd; returns when it ended."""
        assert self._dockerd is not None
        self.keep_networks()
        self._dockerd.terminate()
        self._dockerd.wait(timeout=60)

    def unmount(self) -> None:
        """While it does not run: as if the disk of its data directory were not mounted, or mounted again."""
        away, there = self._dir / "data.away", (self._dir / "data.away").exists()
        self.data.rename(self._dir / "data.spare" if there else away)
        if there:
            away.rename(self.data)

    def power_off(self) -> None:
        """As by a cut of its power: engine, shims and containers are gone at once, and what was in memory with them.

        `restart` is the boot. Other processes of the host are the caller's.
        """
        assert self._holder is not None
        self.kill()
        names = ("containerd", "containerd-shim")
        for pid in {pid for name in names for pid in self.processes(name)} | _confined(self._name):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not _confined(self._name), timeout=30, what=f"the containers of {self._name} to end")
        mounts = Path(f"/proc/{self._holder.pid}/mounts").read_text().splitlines()
        for point in reversed([line.split()[1] for line in mounts]):
            if point.startswith(("/run/docker/", f"{self._dir}/data/")):
                self._inside("umount", "-l", point)
        self._inside("rm", "-rf", "/run/docker")

    def log(self) -> str:
        """What dockerd and its containerd wrote."""
        path = self._dir / "dockerd.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def pid_of(self, container_id: str) -> int:
        """The container's main process, as the host sees it."""
        pid: int = self.client().inspect_container(container_id)["State"]["Pid"]
        assert pid > 0
        return pid

    def stop(self) -> None:
        """End everything and leave nothing behind."""
        if self._dockerd is not None and self._dockerd.poll() is None:
            with contextlib.suppress(Exception):
                client = self.client()
                for each in client.containers(all=True):
                    client.remove_container(each["Id"], force=True)
            self._dockerd.terminate()
            try:
                self._dockerd.wait(timeout=15)
            except subprocess.TimeoutExpired:
                self.kill()
        for client in self._clients.values():
            client.close()
        _end(self._name, self._dir)
        if self._holder is not None:
            self._holder.wait(timeout=30)


def _end(name: str, directory: Path) -> None:
    """Kill what still runs in the namespace, then take the namespace, link, mounts, cgroups and files away."""
    for pid in _processes(name):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not _processes(name), timeout=30, what=f"{name} to end")
    run("ip", "netns", "del", name, check=False)
    for line in Path("/proc/mounts").read_text().splitlines():
        if str(directory) in line:
            run("umount", "-l", line.split()[1], check=False)
    for parent in Path("/sys/fs/cgroup").glob(f"*/{name}"):
        for folder in sorted(parent.rglob("*/"), key=lambda path: -len(path.parts)):
            with contextlib.suppress(OSError):
                folder.rmdir()
        with contextlib.suppress(OSError):
            parent.rmdir()
    shutil.rmtree(directory, ignore_errors=True)


def _processes(name: str) -> set[int]:
    """The engine's own processes, by its namespace, and its containers', by its cgroups (E1)."""
    found = set(map(int, run("ip", "netns", "pids", name, check=False).split()))
    return {pid for pid in found if not _ended(pid)} | _confined(name)


def _confined(name: str) -> set[int]:
    """The processes of its containers."""
    found: set[int] = set()
    for listing in Path("/sys/fs/cgroup").glob(f"*/{name}/**/cgroup.procs"):
        with contextlib.suppress(OSError):  # the cgroup went meanwhile
            found |= set(map(int, listing.read_text().split()))
    return {pid for pid in found if not _ended(pid)}


def _ended(pid: int) -> bool:
    """Whether only a zombie, or nothing, is left of the process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def cleanup_dead() -> None:
    """Take away what test processes that are no more have left."""
    for line in run("ip", "netns", "list", check=False).splitlines():
        name = line.split()[0]
        if name.startswith(f"{_PREFIX}-") and not Path(f"/proc/{name.split('-')[2]}").exists():
            for directory in Path(tempfile.gettempdir()).glob(f"{name}-*"):
                _end(name, directory)
            run("ip", "netns", "del", name, check=False)
