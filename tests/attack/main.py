"""main.py PROGRAM [--quick] [WORD]...: runs the attacks whose names hold one of the words (all, without), and prints a table of them.

The exit code is 0 only if every line passed.
"""

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from attacker import survive
from connections import idle_connections, malformed_and_aborted_calls, slow_readers
from http2 import ATTACKS
from server import Failed, World
from stopping import sigterm_with_silent_slow_and_streaming_clients
from suites import SUITES, passes
from tls import nothing_old_is_offered, reloads_while_clients_come, strangers_are_refused

Line = tuple[str, Callable[[World], tuple[str, float | None]]]


# What fits into a minute or two: the quick selection.
QUICK: list[Line] = [
    *((attack.name, partial(survive, attack)) for attack in ATTACKS),
    ("SIGTERM with silent, slow and streaming clients", sigterm_with_silent_slow_and_streaming_clients),
]
LINES: list[Line] = [
    *QUICK,
    ("connections: 10,000 idle", idle_connections),
    ("connections: 64 readers of 1 KB/s, PostgreSQL", slow_readers),
    ("connections: malformed and aborted calls of h2load", malformed_and_aborted_calls),
    ("TLS: sslscan", nothing_old_is_offered),
    ("TLS: clients without the right certificate", strangers_are_refused),
    ("TLS: 20 reloads under 1,000 handshakes", reloads_while_clients_come),
    *((suite[0], partial(passes, suite)) for suite in SUITES),
]


def run(line: Line, world: World) -> bool:
    """Runs a line, and prints it."""
    name, attack = line
    began = time.monotonic()
    memory = None
    try:
        says, memory = attack(world)
        verdict = "ok"
    except Failed as failed:
        says, *measured = failed.args
        memory = measured[0] if measured else None
        verdict = "FAILED"
    except Exception as error:  # a line that could not be run has not been survived
        says, verdict = f"{type(error).__name__}: {error}", "FAILED"
    took = time.monotonic() - began
    print(f"{name:<58} {verdict:<7} {took:>6.1f} s {'' if memory is None else f'{memory:.0f} MiB':>9}  {says}", flush=True)
    return verdict == "ok"


def main() -> int:
    """Parses, runs, counts."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("program")
    arguments.add_argument("--quick", action="store_true", help="short sizes, and only the lines that fit into minutes")
    arguments.add_argument("words", nargs="*", metavar="WORD")
    chosen = arguments.parse_intermixed_args()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    table = QUICK if chosen.quick and not chosen.words else LINES
    if chosen.words:
        table = [line for line in table if any(word.lower() in line[0].lower() for word in chosen.words)]
    with tempfile.TemporaryDirectory(prefix="userdata-attack-") as folder:
        world = World(chosen.program, Path(folder), chosen.quick)
        print(f"{'attack':<58} {'verdict':<7} {'seconds':>8} {'memory':>9}  what was seen")
        passed = [run(line, world) for line in table]
    print(f"scripts/attack: {passed.count(True)} of {len(table)} lines passed")
    return 0 if table and all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
