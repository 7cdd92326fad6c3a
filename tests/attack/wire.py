"""A connection that sends whatever it is given, and notes how the server ends it: the attacker's half of HTTP/2."""

import select
import socket
import time
from collections import Counter
from collections.abc import Iterable

import hpack
from hyperframe.exceptions import HyperframeError
from hyperframe.frame import DataFrame, Frame, GoAwayFrame, HeadersFrame, RstStreamFrame, SettingsFrame

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
# Attackers come from another address of the loopback network than good clients do: a limit per peer shall hit those who are meant.
ATTACKER = "127.0.0.2"
EXPORT = "/userdata.v1.UserDataService/ExportUserData"
IMPORT = "/userdata.v1.ImportService/ImportUserData"
HEALTH = "/grpc.health.v1.Health/Check"
WATCH = "/grpc.health.v1.Health/Watch"
REFLECTION = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"

Address = tuple[str, int]
Headers = list[tuple[str, str]]


def call_headers(path: str, credentials: Iterable[tuple[str, str]] = ()) -> Headers:
    """The head of a gRPC call."""
    pseudo = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "localhost")]
    return [*pseudo, ("te", "trailers"), ("content-type", "application/grpc"), *credentials]


def message(body: bytes = b"") -> bytes:
    """A message as gRPC sends it: its length, and itself."""
    return b"\0" + len(body).to_bytes(4, "big") + body


def about(user_token: str) -> bytes:
    """The requests that name nothing but a user: the token is field 1 of them all."""
    return message(b"\x0a" + len(user_token).to_bytes(1, "big") + user_token.encode())


class Wire:
    """One connection. `cut` says how the server ended it, once it did."""

    def __init__(self, address: Address, credentials: Headers, number: int = 0, source: str = ATTACKER):
        self.number, self.credentials = number, credentials
        self.encoder = hpack.Encoder()
        self.opened, self.reads = time.monotonic(), True
        self.cut: str | None = None
        self.cut_after: float | None = None
        self.resets: Counter[str] = Counter()
        self.sent = 0
        self.stream = -1
        self._unread = bytearray()
        self.socket = socket.socket()
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.settimeout(5)
        self.is_accepted = False
        try:
            self.socket.bind((source, 0))
            self.socket.connect(address)
            self.socket.setblocking(False)
            self.is_accepted = True
        except OSError as error:
            self._ended(f"no connection: {error.strerror or error}")

    def start(self, **settings: int) -> bytes:
        """The preface and SETTINGS, as bytes; `INITIAL_WINDOW_SIZE=0` and the like are settings."""
        named = {getattr(SettingsFrame, name): value for name, value in settings.items()}
        return PREFACE + SettingsFrame(0, named).serialize()

    def start_well(self) -> bytes:
        """The same and a good call, so that nobody waits for one any more."""
        return self.start() + self.call(self.next_stream(), HEALTH, message())

    def next_stream(self) -> int:
        """The number of a stream that has not been used."""
        self.stream += 2
        return self.stream

    def head(self, stream: int, path: str, *flags: str, credentials: bool = True, more: Headers = ()) -> bytes:
        """The HEADERS of a call; after those of the first its fields are indexed, and take a byte each."""
        fields = call_headers(path, [*(self.credentials if credentials else ()), *more])
        return HeadersFrame(stream, self.encoder.encode(fields), flags=["END_HEADERS", *flags]).serialize()

    def call(self, stream: int, path: str, body: bytes, credentials: bool = True) -> bytes:
        """A whole call."""
        return self.head(stream, path, credentials=credentials) + DataFrame(stream, body, flags=["END_STREAM"]).serialize()

    def send(self, data: bytes, patience: float = 0.05) -> bool:
        """Sends all of it, and reads meanwhile; or False, once the server has not taken any for as long as `patience`, or is gone."""
        view = memoryview(data)
        while view and not self.cut:
            try:
                taken = self.socket.send(view)
                self.sent += taken
                view = view[taken:]
            except BlockingIOError:
                if not self.reads or not self.receive():
                    if not self._ready(select.POLLOUT, patience):
                        return False
            except OSError as error:
                self.receive()  # perhaps it said why
                self._ended(error.strerror or str(error))
        return not view

    def receive(self, wait: float = 0) -> list[Frame]:
        """The frames that have come."""
        if self.cut or not self.reads or not self._ready(select.POLLIN, wait):
            return []
        try:
            data = self.socket.recv(1 << 18)
        except BlockingIOError:
            return []
        except OSError as error:
            self._ended(error.strerror or str(error))
            return []
        self._unread += data
        frames = list(self._frames())
        for frame in frames:
            if isinstance(frame, GoAwayFrame) and (frame.error_code or not data):
                self._ended(f"GOAWAY {frame.error_code} {frame.additional_data.decode(errors='replace')}".strip())
            elif isinstance(frame, RstStreamFrame):
                self.resets[str(frame.error_code)] += 1
        if not data:
            self._ended("closed")
        return frames

    def _ready(self, event: int, wait: float) -> bool:
        poll = select.poll()
        poll.register(self.socket, event)
        return bool(poll.poll(1000 * wait))

    def _frames(self) -> Iterable[Frame]:
        while len(self._unread) >= 9:
            try:
                frame, length = Frame.parse_frame_header(memoryview(bytes(self._unread[:9])))
                if len(self._unread) < 9 + length:
                    return
                frame.parse_body(memoryview(bytes(self._unread[9 : 9 + length])))
            except HyperframeError as error:  # no HTTP/2 at all
                self._ended(f"answered with something else: {error}")
                return
            del self._unread[: 9 + length]
            yield frame

    def _ended(self, how: str) -> None:
        if not self.cut:
            self.cut, self.cut_after = how, time.monotonic() - self.opened
            self.socket.close()
