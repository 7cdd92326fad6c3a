"""Carries attacks out, in one process that gives way to the server and the good client, as if it were another machine."""

import os
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import ParamSpec, TypeVar

import hpack
from hyperframe.frame import HeadersFrame

from good_client import FORK, STATUS, GoodClient
from http2 import ATTACKS, Attack, Pieces
from server import MIB, Failed, Server, World, judged
from wire import Address, Headers, Wire, about

CUT_WITHIN = 5
MOST_CONNECTIONS = 5_000
MOST_MEMORY = 64
# A debug build's futures are several times as large.
MOST_MEMORY_QUICK = 128
# Of a release build. In a quick run a debug build shares a busy machine: it shows that nobody starves, and no figure.
MOST_P99, MOST_P99_QUICK = 0.1, 2.0

Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")
# Connections stay open until the attacker ends, and not merely until its attack does.
HELD: list[object] = []


@dataclass
class Seen:
    """What the attacker saw of the server."""

    connections: int = 0
    accepted: int = 0
    open: int = 0
    slowest_cut: float = 0
    sent: int = 0
    cuts: Counter[str] = field(default_factory=Counter)
    resets: Counter[str] = field(default_factory=Counter)

    def add(self, wire: Wire) -> None:
        """Counts a connection that is over, or that is still open at the end."""
        self.accepted += wire.is_accepted
        self.sent += wire.sent
        self.resets += wire.resets
        if wire.cut and wire.cut_after is not None:
            self.cuts[wire.cut] += 1
            self.slowest_cut = max(self.slowest_cut, wire.cut_after)
        else:
            self.open += 1


class Attacker:
    """A process for attacks; with it end its connections."""

    def __init__(self) -> None:
        self._pool = ProcessPoolExecutor(1, FORK, os.nice, (10,))

    def __enter__(self) -> "Attacker":
        self.does(time.sleep, 0)
        return self

    def does(self, what: Callable[Arguments, Answer], *arguments: Arguments.args, **named: Arguments.kwargs) -> Answer:
        """Calls a function there, and waits for it."""
        return self.begins(what, *arguments, **named).result()

    def begins(self, what: Callable[Arguments, Answer], *arguments: Arguments.args, **named: Arguments.kwargs) -> Future[Answer]:
        """Calls a function there."""
        return self._pool.submit(what, *arguments, **named)

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()


def enter(address: Address, credentials: Headers) -> None:
    """Makes one good call: whose address or key the server refuses altogether would be cut, and have shown nothing."""
    wire, decoder, end = Wire(address, credentials), hpack.Decoder(), time.monotonic() + CUT_WITHIN
    wire.send(wire.start() + wire.call(wire.next_stream(), STATUS, about("nobody")))
    status: str | None = None
    while not status and not wire.cut and time.monotonic() < end:
        heads = [decoder.decode(frame.data) for frame in wire.receive(0.1) if isinstance(frame, HeadersFrame)]
        status = next((value for head in heads for name, value in head if name == "grpc-status"), None)
    wire.socket.close()
    if status != "0":
        raise Failed(f"the attacker is not let in: {f'grpc-status {status}' if status else wire.cut or 'silence'}")


def carry_out(place: int, address: Address, credentials: Headers, seconds: float) -> Seen:
    """Attacks for so long, and then waits a little for what is still to be cut, where the server has to cut until it must be."""
    enter(address, credentials)
    attack, seen, over = ATTACKS[place], Seen(), time.monotonic() + seconds
    end = over + (CUT_WITHIN if attack.must_cut else 0.5)
    running: list[tuple[Wire, Pieces]] = []
    while (now := time.monotonic()) < end and (running or now < over):
        while now < over and len(running) < attack.connections and seen.connections < MOST_CONNECTIONS:
            wire = Wire(address, credentials, seen.connections)
            running.append((wire, attack.pieces(wire)))
            seen.connections += 1
        sent = [wire.send(piece) for wire, pieces in running if (piece := next(pieces, None)) is not None]
        for wire, _ in running:
            wire.receive()
        for ended in [one for one in running if one[0].cut]:
            seen.add(ended[0])
            running.remove(ended)
        time.sleep(attack.pace if sent else max(attack.pace, 0.01))
    for wire, _ in running:
        seen.add(wire)
    HELD.extend(running)
    return seen


def survive(attack: Attack, world: World) -> tuple[str, float | None]:
    """Attacks a server, and says how it survived and how much memory that took, in MiB."""
    seconds = 2 if world.quick else CUT_WITHIN
    with Server(world, *world.options(first_request_timeout="2s")) as server, Attacker() as attacker:
        with GoodClient(server.address, world.good) as good:
            time.sleep(0.5)
            before = server.forget_peak()
            seen = attacker.does(carry_out, ATTACKS.index(attack), server.address, world.attacker, seconds)
        idle = server.seconds_until_idle()
        grown = server.peak() - before
    problems = good.problems(MOST_P99_QUICK if world.quick else MOST_P99)
    if not seen.accepted:
        problems.append("no connection was accepted")
    if seen.open and attack.must_cut:
        problems.append(f"{seen.open} connections were not cut")
    elif not seen.open and seen.slowest_cut > CUT_WITHIN:
        problems.append("cut late")
    most_memory = MOST_MEMORY_QUICK if world.quick else MOST_MEMORY
    if grown > most_memory:
        problems.append(f"more than {most_memory} MiB")
    if idle > CUT_WITHIN:
        problems.append("still busy 5 s later")
    says = ["bounded" if seen.open else f"cut after {seen.slowest_cut:.1f} s", str(good), f"idle after {idle:.1f} s"]
    says += [f"{seen.accepted} connections", f"{seen.sent / MIB / MIB:.0f} MiB sent", f"{sum(seen.resets.values())} resets"]
    says += [how for how, _ in seen.cuts.most_common(1)]
    return judged(problems, ", ".join(says), grown)
