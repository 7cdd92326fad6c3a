"""A client that means well, in a process of its own: small calls over several connections while the attack goes on, each timed."""

import multiprocessing
import socket
import ssl
import time
from multiprocessing.connection import Connection as Pipe
from types import TracebackType
from typing import Any

import h2.config
import h2.connection
import h2.events

from server import Failed
from wire import HEALTH, Address, Headers, about, call_headers, message

STATUS = "/userdata.v1.UserDataService/GetErasureStatus"
PATIENCE = 5
# More than there are threads in a small server, so that each of them serves one.
CONNECTIONS = 4
PACE = 0.01
# Every so many calls one of the connections is made anew.
RECONNECT = 20
FORK = multiprocessing.get_context("fork")


class Caller:
    """One connection, by the rules."""

    def __init__(self, address: Address, credentials: Headers, tls: ssl.SSLContext | None = None):
        self.credentials = credentials
        self.serial = ""
        self.socket = socket.create_connection(address, timeout=PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            self.socket = secured = tls.wrap_socket(self.socket, server_hostname=address[0])
            self.serial = str((secured.getpeercert() or {}).get("serialNumber"))
        self.http2 = h2.connection.H2Connection(h2.config.H2Configuration())
        self.http2.initiate_connection()

    def call(self, path: str, body: bytes) -> None:
        """One unary call, which has to succeed."""
        stream = self.http2.get_next_available_stream_id()
        self.http2.send_headers(stream, call_headers(path, self.credentials))
        self.http2.send_data(stream, body, end_stream=True)
        status: bytes | None = None
        while True:
            self.socket.sendall(self.http2.data_to_send())
            if not (data := self.socket.recv(1 << 16)):
                raise Failed("its connection was closed")
            for event in self.http2.receive_data(data):
                if isinstance(event, h2.events.DataReceived):
                    self.http2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                elif isinstance(event, h2.events.ResponseReceived | h2.events.TrailersReceived):
                    status = dict(event.headers).get(b"grpc-status", status)
                elif isinstance(event, h2.events.StreamReset | h2.events.ConnectionTerminated):
                    raise Failed(f"its call was ended: {event.error_code}")
                elif isinstance(event, h2.events.StreamEnded):
                    if status != b"0":
                        raise Failed(f"its call was refused: grpc-status {status!r}")
                    self.socket.sendall(self.http2.data_to_send())
                    return

    def close(self) -> None:
        """Ends the connection."""
        self.socket.close()


def _calls_until_told(told: Pipe, address: Address, credentials: Headers) -> None:
    callers = [Caller(address, credentials) for _ in range(CONNECTIONS)]
    seconds: list[float] = []
    failures: list[str] = []
    told.send("ready")
    while not told.poll(PACE) and len(failures) < 10:
        number, place = len(seconds), len(seconds) % CONNECTIONS
        began = time.monotonic()
        try:
            if number % RECONNECT == RECONNECT - 1:
                callers[place].close()
                callers[place] = Caller(address, credentials)
            callers[place].call(*((HEALTH, message()) if number // CONNECTIONS % 2 else (STATUS, about("nobody"))))
        except (OSError, Failed) as error:
            failures.append(str(error))
            callers[place].close()
            callers[place] = Caller(address, credentials)
        seconds.append(time.monotonic() - began)
    told.send((seconds, failures))


class GoodClient:
    """Calls from when it is entered until it is left; then it knows how that was."""

    def __init__(self, address: Address, credentials: Headers):
        self.seconds: list[float] = []
        self.failures: list[str] = []
        self._tell, told = FORK.Pipe()
        self._process = FORK.Process(target=_calls_until_told, args=(told, address, credentials), daemon=True)
        self._process.start()
        told.close()

    def __enter__(self) -> "GoodClient":
        try:
            self._hear()
        except Failed:
            self._process.kill()
            raise
        return self

    def _hear(self) -> Any:
        if not self._tell.poll(4 * PATIENCE):
            raise Failed("the good client got no answer at all")
        try:
            return self._tell.recv()
        except EOFError:
            raise Failed("the good client could not connect") from None

    def __exit__(self, kind: type | None, _error: BaseException | None, _trace: TracebackType | None) -> None:
        try:
            if kind is None:
                self._tell.send("stop")
                self.seconds, self.failures = self._hear()
        finally:
            self._process.kill()
            self._process.join()

    def p99(self) -> float:
        """The time, in seconds, within which 99 of 100 calls were answered."""
        return sorted(self.seconds)[int(0.99 * len(self.seconds))]

    def __str__(self) -> str:
        return f"p99 {1000 * self.p99():.0f} ms of {len(self.seconds)} good calls"

    def problems(self, most: float) -> list[str]:
        """What it has to complain of: calls that failed, or that took longer than `most`."""
        failed = [f"{len(self.failures)} good calls failed: {self.failures[0]}"] if self.failures else []
        return failed + (["a good client waits"] if self.p99() > most else [])
