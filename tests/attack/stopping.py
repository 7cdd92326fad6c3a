"""SIGTERM while clients are silent, slow, and in the midst of an export."""

import os
import select
import signal
import time

from hyperframe.frame import DataFrame

from server import PATIENCE, Failed, Server, World, judged
from wire import EXPORT, HEALTH, PREFACE, WATCH, Wire, about, message

DRAIN = 1.0
# Of a release build; a debug build on a busy machine shows that it is told, and no figure.
TOLD_WITHIN, TOLD_WITHIN_QUICK = 0.1, 0.5
SERVING, NOT_SERVING = message(b"\x08\x01"), message(b"\x08\x02")


def sigterm_with_silent_slow_and_streaming_clients(world: World) -> tuple[str, float | None]:
    """Starts a server, has clients of every bad kind come, and stops it; 100 times. Survived when health says NOT_SERVING within 100 ms,
    and the program ends within its --drain-timeout, with code 0, each time.
    """
    times = 10 if world.quick else 100
    told, ended = zip(*(_stop(world, number) for number in range(times)), strict=True)
    most = TOLD_WITHIN_QUICK if world.quick else TOLD_WITHIN
    problems = [f"health was late {late} times"] if (late := sum(1 for seconds in told if seconds > most)) else []
    problems += [f"the exit was late {late} times"] if (late := sum(1 for seconds in ended if seconds > DRAIN)) else []
    says = f"{times} times: health told within {1000 * max(told):.0f} ms, exit within {max(ended):.2f} s of {DRAIN:.0f} s"
    return judged(problems, says)


def _stop(world: World, number: int) -> tuple[float, float]:
    with Server(world, "--drain-timeout", f"{DRAIN:.0f}s") as server:
        silent, slow, streaming, unread, watch = (Wire(server.address, world.attacker, number) for _ in range(5))
        slow.send((PREFACE[:-1], slow.start() + slow.head(1, HEALTH)[:-1])[number % 2])
        streaming.send(streaming.start(INITIAL_WINDOW_SIZE=1024) + streaming.call(1, EXPORT, about(world.large_user)))
        unread.send(unread.start(INITIAL_WINDOW_SIZE=0) + unread.call(1, EXPORT, about(world.large_user)))
        watch.send(watch.start() + watch.call(1, WATCH, message()))
        _wait_for(watch, SERVING)
        _wait_for(streaming, b"")

        process = os.pidfd_open(server.process.pid)
        try:
            server.process.send_signal(signal.SIGTERM)
            began = time.monotonic()
            _wait_for(watch, NOT_SERVING)
            told = time.monotonic() - began
            while not select.select([process], [], [], 0.01)[0]:
                if time.monotonic() - began > PATIENCE:
                    raise Failed(f"the server still runs {PATIENCE} s after SIGTERM")
                streaming.receive()
            ended = time.monotonic() - began
        finally:
            os.close(process)
        if server.process.wait() != 0:
            raise Failed(f"the server ended with {server.process.returncode}")
        del silent
        return told, ended


def _wait_for(wire: Wire, content: bytes) -> None:
    """Until DATA comes that begins so."""
    end = time.monotonic() + 5
    while time.monotonic() < end:
        if any(isinstance(frame, DataFrame) and frame.data.startswith(content) for frame in wire.receive(0.05)):
            return
    raise Failed(f"no {content!r} came, but: {wire.cut or 'nothing'}")
