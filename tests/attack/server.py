"""The server under attack: the real program on data of its own, and what it costs."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

from wire import Address, Headers

PATIENCE = 60
# A tenth of a processor: what health, keys and the removal of files ask for.
IDLE_SHARE = 0.1
MIB = 1024.0  # of what /proc counts, in KiB


class Failed(Exception):
    """What an attack has shown, and the memory it took, if that is known."""


def judged(problems: list[str], says: str, memory: float | None = None) -> tuple[str, float | None]:
    """What a line gives: it fails if there are problems."""
    if problems:
        raise Failed("; ".join([*problems, says]), memory)
    return says, memory


class World:
    """What all servers share: the program, what it can be told, and a database with one large user, made once and copied."""

    large_user = "large"

    def __init__(self, program: str, folder: Path, quick: bool):
        self.program, self.folder, self.quick = program, folder, quick
        self.flags = set(re.findall(r"--[a-z0-9-]+", self.run("serve", "--help")))
        self.template = folder / "template"
        self.template.mkdir()
        self.good, self.attacker = self.fill(f"sqlite://{self.template}/userdata.db", self.template)

    def run(self, *arguments: str) -> str:
        """What a command prints."""
        done = subprocess.run([self.program, *arguments], capture_output=True, text=True, timeout=PATIENCE)
        if done.returncode:
            raise Failed(f"userdata {arguments[0]}: {done.stderr.strip()[-500:]}")
        return done.stdout

    def fill(self, database_url: str, folder: Path) -> tuple[Headers, Headers]:
        """Gives a database two applications, each with the large user, and makes the keys of the good client and of the attacker."""
        documents = self.folder / "large.jsonl"
        if not documents.exists():
            invented = self.run("generate", "--users", "1", "--messages", "15000")
            documents.write_text(invented.replace(json.loads(invented)["userToken"], self.large_user))
        keys = self._key(database_url, "GOOD"), self._key(database_url, "ATTACKER")
        with Server(self, database_url=database_url, folder=folder) as server:
            for key in keys:
                who = ["--application", key[0][1], "--api-key", key[1][1]]
                self.run("import", str(documents), "--server", server.url, *who)
            server.stop()
        return keys

    def _key(self, database_url: str, application: str) -> Headers:
        made = ["keys", "create", "--application", application, "--permissions", "export,import,scoped-delete"]
        key = self.run(*made, "--database-url", database_url).strip()
        return [("x-application-id", application), ("x-api-key", key)]

    def options(self, **wanted: object) -> list[str]:
        """Those of the settings that this program knows, as flags."""
        flags = {f"--{name.replace('_', '-')}": str(value) for name, value in wanted.items()}
        return [word for flag, value in flags.items() if flag in self.flags for word in (flag, value)]


class Server:
    """A running `userdata serve`; it has a fresh copy of the data unless it is told where others are. Killed when it is left."""

    def __init__(self, world: World, *arguments: str, database_url: str | None = None, folder: Path | None = None, ready: bool = True):
        self.folder = folder or world.folder / f"server-{time.monotonic_ns()}"
        if not folder:
            shutil.copytree(world.template, self.folder)
        database_url = database_url or f"sqlite://{self.folder}/userdata.db"
        (self.folder / "objects").mkdir(exist_ok=True)
        stores = ["--database-url", database_url, "--object-store-url", f"file://{self.folder}/objects"]
        self.log = self.folder / "serve.log"
        with self.log.open("w") as log:
            command = [world.program, "serve", "--listen", "127.0.0.1:0", "--log-format", "json", *stores, *arguments]
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log)
        self.proc = Path(f"/proc/{self.process.pid}")
        self._owns_folder = not folder
        try:
            self.address = self._until_it_listens()
        except BaseException:
            self.__exit__()
            raise
        self.url = f"http://{self.address[0]}:{self.address[1]}"

    def _until_it_listens(self) -> Address:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end and self.process.poll() is None:
            if found := re.search(r'"message":"listening","address":"([^"]*):(\d+)"', self.log.read_text()):
                return found[1], int(found[2])
            time.sleep(0.01)
        raise Failed(f"the server did not start: {self.log.read_text()[-500:]}")

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        if self._owns_folder:
            shutil.rmtree(self.folder, ignore_errors=True)

    def stop(self, patience: float = PATIENCE) -> int:
        """Has it stop, and gives its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(patience)

    def forget_peak(self) -> float:
        """Begins to measure anew, and gives the memory of now, in MiB."""
        (self.proc / "clear_refs").write_text("5")
        return self.memory()

    def memory(self) -> float:
        """The memory it has now, in MiB."""
        return self._memory("VmRSS")

    def peak(self) -> float:
        """The most memory it had since, in MiB."""
        return self._memory("VmHWM")

    def _memory(self, name: str) -> float:
        if found := re.search(rf"{name}:\s+(\d+) kB", (self.proc / "status").read_text()):
            return int(found[1]) / MIB
        raise Failed(f"the server has died: {self.log.read_text()[-500:]}")

    def sockets(self) -> int:
        """How many sockets it has open."""
        return sum(1 for one in (self.proc / "fd").iterdir() if os.readlink(one).startswith("socket:"))

    def cpu(self) -> float:
        """Processor seconds so far."""
        fields = (self.proc / "stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def seconds_until_idle(self, patience: float = 5) -> float:
        """How long it takes until it asks for a tenth of a processor at most; infinite when it does not come to that."""
        began = time.monotonic()
        while time.monotonic() - began < patience:
            before, at = self.cpu(), time.monotonic()
            time.sleep(0.25)
            if self.cpu() - before <= IDLE_SHARE * (time.monotonic() - at):
                return at - began
        return float("inf")
