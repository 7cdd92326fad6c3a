"""Connections: many that do nothing, some that read slowly, and those that another program makes and breaks."""

import os
import re
import select
import subprocess
import time

from hyperframe.frame import DataFrame, HeadersFrame, PingFrame, WindowUpdateFrame

from attacker import HELD, MOST_MEMORY, MOST_P99, Attacker, enter
from good_client import STATUS, GoodClient
from server import Failed, Server, World, judged
from wire import EXPORT, HEALTH, Address, Headers, Wire, about, message

MOST_IDLE_MEMORY = 250
MOST_IDLE_P99 = 0.05
PER_SOURCE = 100
READERS = 64
# What one may hold, in MiB: as in docs/performance, row 10.
MOST_OF_A_READER = 2
PACE = 1024
# As many as an application may have at once; and what one may hold at full speed, in MiB.
EXPORTS, MOST_OF_AN_EXPORT = 16, 6
MOST_THAT_STAYS = 16
# So the attacker may have one connection at a time to read with, and the good client the other: one that a reader has between two
# statements, which PostgreSQL does not tell from one that nobody has, is one that the other readers wait for.
DATABASE_CONNECTIONS = 4
# How many statements run, or transactions are open, for longer than a call in passing takes. A vacuum is a backend too, and no client's.
HELD_SQL = """SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
    AND backend_type = 'client backend' AND state <> 'idle'
    AND clock_timestamp() - greatest(state_change, query_start) > interval '50 ms'"""


def idle_connections(world: World) -> tuple[str, float | None]:
    """10,000 connections that make one call each and then answer PINGs and do nothing else, from 100 addresses. Survived when the server
    has 250 MiB at most, and 99 of 100 calls of a good client are answered within 50 ms.
    """
    count, seconds = (1_000, 5) if world.quick else (10_000, 40)
    options = world.options(max_connections=count + 1_000, max_connections_per_peer=2 * PER_SOURCE)
    with Server(world, *options) as server, Attacker() as attacker:
        attacker.does(_open_idle, server.address, world.attacker, count)
        server.forget_peak()
        with GoodClient(server.address, world.good) as good:
            there = attacker.does(_keep_idle, seconds)
        peak = server.peak()
    problems = good.problems(MOST_IDLE_P99)
    if there < count:
        problems.append("connections that answer were closed")
    if peak > MOST_IDLE_MEMORY:
        problems.append(f"more than {MOST_IDLE_MEMORY} MiB")
    return judged(problems, f"{there} of {count} connections after {seconds} s, {good}", peak)


def _open_idle(address: Address, credentials: Headers, count: int) -> None:
    for first in range(0, count, PER_SOURCE):
        source = f"127.0.1.{1 + first // PER_SOURCE}"
        wires = [Wire(address, credentials, number, source) for number in range(PER_SOURCE)]
        HELD.extend(wires)
        for wire in wires:
            wire.send(wire.start() + wire.call(wire.next_stream(), HEALTH, message()))
        for wire in wires:
            end = time.monotonic() + 10
            while not any(isinstance(frame, HeadersFrame) and "END_STREAM" in frame.flags for frame in wire.receive(0.1)):
                if wire.cut or time.monotonic() > end:
                    raise Failed(f"connection {first + wire.number + 1} had no answer: {wire.cut or 'silence'}")


def _keep_idle(seconds: float) -> int:
    """Answers PINGs for so long, and tells how many connections are left."""
    wires = {wire.socket.fileno(): wire for wire in HELD if isinstance(wire, Wire)}
    poll = select.epoll()
    for descriptor in wires:
        poll.register(descriptor, select.EPOLLIN)
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        for descriptor, _ in poll.poll(left):
            wire = wires[descriptor]
            for frame in wire.receive():
                if isinstance(frame, PingFrame) and "ACK" not in frame.flags:
                    wire.send(PingFrame(0, frame.opaque_data, flags=["ACK"]).serialize())
    return sum(1 for wire in wires.values() if not wire.cut)


def slow_readers(world: World) -> tuple[str, float | None]:
    """64 exports on PostgreSQL, each on a connection that takes 1 KB a second. Survived when none of them holds a database connection, so
    that one is enough to begin many, and a good client does not wait; whether the server goes on or cuts them is its own affair.
    """
    folder = world.folder / "postgres"
    folder.mkdir()
    url = _new_database()
    world.run("migrate", "--database-url", url)
    good_key, attacker_key = world.fill(url, folder)
    most, samples = 0, 0
    allowed = world.options(max_exports=2 * READERS, max_exports_per_application=READERS)
    allowed += ["--database-max-connections", str(DATABASE_CONNECTIONS)]
    with Server(world, *allowed, database_url=url, folder=folder) as server, Attacker() as attacker:
        with GoodClient(server.address, good_key) as good:
            before = server.forget_peak()
            seconds = 5 if world.quick else 20
            reading = attacker.begins(_read_slowly, server.address, attacker_key, seconds)
            while not reading.done():
                most, samples = max(most, int(_psql(url, HELD_SQL))), samples + 1
                time.sleep(0.1)
        grown = server.peak() - before
        started, went_on, taken = reading.result()
    problems = good.problems(MOST_P99)
    if started < READERS // 2:
        problems.append("too few got anything")
    if most:
        problems.append("a database connection is held")
    if grown > READERS * MOST_OF_A_READER:
        problems.append(f"more than {MOST_OF_A_READER} MiB for a reader")
    says = f"{started} of {READERS} began, {went_on} went on, {taken // 1024} KiB read; at most {most} connections held in {samples} looks"
    return judged(problems, f"{says}, {good}", grown)


def _read_slowly(address: Address, credentials: Headers, seconds: float) -> tuple[int, int, int]:
    """How many readers got anything, how many were not cut, and how many bytes they took."""
    wires = [Wire(address, credentials, number) for number in range(READERS)]
    taken = dict.fromkeys(range(READERS), 0)
    for wire in wires:
        wire.send(wire.start(INITIAL_WINDOW_SIZE=PACE) + wire.call(1, EXPORT, about(World.large_user)))
    end = time.monotonic() + seconds
    while (now := time.monotonic()) < end:
        for wire in wires:
            taken[wire.number] += sum(len(frame.data) for frame in wire.receive() if isinstance(frame, DataFrame))
            wire.send(b"".join(WindowUpdateFrame(stream, window_increment=PACE).serialize() for stream in (0, 1)))
        time.sleep(max(0, now + 1 - time.monotonic()))
    HELD.extend(wires)
    return sum(1 for size in taken.values() if size), sum(1 for wire in wires if not wire.cut), sum(taken.values())


def _psql(url: str, sql: str) -> str:
    return subprocess.run(["psql", url, "-XAtqc", sql], check=True, capture_output=True, text=True, timeout=30).stdout.strip()


def _new_database() -> str:
    try:
        url = os.environ["USERDATA_TEST_POSTGRES_URL"]
    except KeyError:
        raise Failed("there is no PostgreSQL: run it beside scripts/with-services") from None
    name = f"attack_{time.monotonic_ns()}"
    _psql(url, f"CREATE DATABASE {name}")
    return url.rsplit("/", 1)[0] + "/" + name


def malformed_and_aborted_calls(world: World) -> tuple[str, float | None]:
    """h2load makes calls that are no calls, and is killed in the midst of exports. Survived when nothing of them stays: no socket, no
    busy processor, and no memory that was not there after the first half; when calls that are none take 64 MiB at most, and those exports
    that are let in 6 MiB each; and a good call works.
    """
    bodies = [b"\0", b"\0\0\0\1\0half", b"\1" + message(b"x")[1:], message(100 * b"\xff"), b"\0\xff\xff\xff\xff", about("")]
    made, killed = 0, 2 if world.quick else 10
    with Server(world) as server:
        enter(server.address, world.attacker)
        with GoodClient(server.address, world.good):
            time.sleep(0.5)
        sockets, before = server.sockets(), server.forget_peak()
        for path in EXPORT, STATUS, "/userdata.v1.UserDataService/Nothing", "/%00":
            for number, body in enumerate(bodies):
                data = server.folder / f"body-{number}"
                data.write_bytes(body)
                command = _h2load(server, world, path, "--requests=200", f"--data={data}")
                told = subprocess.run(command, timeout=60, check=True, capture_output=True, text=True).stdout
                made += int(re.search(r"(\d+) done", told)[1])
        of_malformed = server.peak() - before
        data.write_bytes(about(world.large_user))
        kept: list[float] = []
        for number in range(killed):
            aborted = subprocess.Popen(_h2load(server, world, EXPORT, "--duration=30", f"--data={data}"), stdout=subprocess.DEVNULL)
            time.sleep(0.5)
            aborted.kill()
            aborted.wait()
            if number + 1 in (killed // 2, killed):
                idle = server.seconds_until_idle(10)
                kept.append(server.memory())
        left, grown, stays = server.sockets() - sockets, server.peak() - before, kept[-1] - kept[0]
        with GoodClient(server.address, world.good) as good:
            time.sleep(0.5)
    problems = good.problems(MOST_P99)
    if made < 4 * len(bodies) * 200:
        problems.append("some calls that are none were not answered")
    if left > 0:
        problems.append("sockets stay open")
    if of_malformed > MOST_MEMORY:
        problems.append(f"malformed calls take more than {MOST_MEMORY} MiB")
    if grown > EXPORTS * MOST_OF_AN_EXPORT:
        problems.append(f"more than {MOST_OF_AN_EXPORT} MiB for an export")
    if stays > MOST_THAT_STAYS:
        problems.append(f"more than {MOST_THAT_STAYS} MiB stay")
    if idle > 10:
        problems.append("still busy 10 s later")
    what = f"{made} malformed ({of_malformed:.0f} MiB), {killed} × 160 exports aborted"
    says = f"{what}; {left:+d} sockets, {stays:+.0f} MiB, idle after {idle:.1f} s; then {good}"
    return judged(problems, says, grown)


def _h2load(server: Server, world: World, path: str, *more: str) -> list[str]:
    headers = [("te", "trailers"), ("content-type", "application/grpc"), *world.attacker]
    heads = [f"--header={name}: {value}" for name, value in headers]
    return ["h2load", "--clients=8", "--max-concurrent-streams=20", *heads, *more, server.url + path]
