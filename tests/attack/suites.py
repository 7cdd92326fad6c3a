"""The lines that other tests stand for: a name, a command, and what it finds in its environment."""

import os
import re
import subprocess
import tempfile

from server import MIB, Failed, World

LONGEST = 3_600
Suite = tuple[str, dict[str, str], list[str]]


def _cargo(target: str, tests: str) -> list[str]:
    return ["cargo", "test", "--locked", *target.split(), "--", *tests.split()]


SUITES: list[Suite] = [
    ("credentials: the table of JWTs", {}, _cargo("--lib", "grpc::auth::tests::jwt_attacks")),
    ("credentials: Wycheproof's vectors for JWS", {}, _cargo("--lib", "grpc::auth::tests::wycheproof")),
    ("credentials: the table of API keys", {}, _cargo("--lib", "grpc::auth::tests::api_keys")),
    ("credentials: timing of API keys", {}, _cargo("--release --test it", "--ignored --exact timing::timing_of_api_keys")),
    ("credentials: access matrix, every call", {}, _cargo("--test it", "access_matrix")),
    ("isolation of applications and users", {}, _cargo("--test it", "isolation::")),
    ("faults of the database", {}, _cargo("--test it", "database_faults:: faults:: lifecycle::")),
    ("faults of the object store", {}, _cargo("--test it", "slow_store::")),
    ("leaks: 10,000 calls, every log", {"LEAK_CALLS": "10000"}, _cargo("--features failpoints --test it", "leaks::")),
    ("limits, and one application beside another", {}, _cargo("--test it", "load::")),
    ("fuzz: every target for 60 s", {}, ["scripts/fuzz", "60"]),
]


def passes(suite: Suite, _world: World) -> tuple[str, float]:
    """Runs the command, from the root of the repository. Survived when it ends well; tests under no such name are a failure."""
    _, more, command = suite
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            ["timeout", str(LONGEST), *command], stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=os.environ | more
        )
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read()
    memory = used.ru_maxrss / MIB
    if process.returncode:
        failed = re.findall(r"^test (\S+) \.\.\. FAILED", text, re.MULTILINE) or text.strip().splitlines()[-1:]
        raise Failed(f"`{' '.join(command)}` ended with {process.returncode}: {', '.join(failed)}", memory)
    if command[0] != "cargo":
        return "passed", memory
    tests = sum(int(number) for number in re.findall(r"^test result: ok\. (\d+) passed", text, re.MULTILINE))
    if not tests:
        raise Failed(f"there is no test: `{' '.join(command)}`", memory)
    return f"{tests} tests passed", memory
