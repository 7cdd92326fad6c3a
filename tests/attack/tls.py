"""TLS: what is offered, who is let in, and certificates that change while clients come."""

import os
import ssl
import subprocess
import threading
import time
import xml.etree.ElementTree as xml
from pathlib import Path

from good_client import Caller
from server import Failed, Server, World
from wire import HEALTH, Address, message

RELOADS, HANDSHAKES, AT_ONCE = 20, 1_000, 4
NOTICED_WITHIN = 15
SERVER_NAMES = "subjectAltName=IP:127.0.0.1,DNS:localhost"


class Certificates:
    """An authority, and what it signs, in a folder."""

    def __init__(self, folder: Path, name: str):
        self.folder, self.name = folder, name
        (folder / "openssl.cnf").write_text("[req]\ndistinguished_name = dn\n[dn]\n")
        extensions = _added("basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign")
        self._openssl("req", "-x509", *self._new(name), "-out", f"{folder}/{name}.pem", *extensions)
        self.pem = folder / f"{name}.pem"

    def sign(self, name: str, *extensions: str, days: int = 1) -> tuple[Path, Path]:
        """A certificate and its key; of 0 days it expires within a second."""
        request, certificate, key = (self.folder / f"{name}.{kind}" for kind in ("csr", "pem", "key"))
        self._openssl("req", "-new", *self._new(name), "-out", f"{request}", *_added("basicConstraints=critical,CA:FALSE", *extensions))
        authority = ["-CA", f"{self.pem}", "-CAkey", f"{self.folder / self.name}.key", "-CAcreateserial", "-copy_extensions", "copy"]
        self._openssl("x509", "-req", "-in", f"{request}", "-out", f"{certificate}", *authority, "-days", str(days))
        return certificate, key

    def _new(self, name: str) -> list[str]:
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{self.folder / name}.key"]
        return ["-config", f"{self.folder}/openssl.cnf", *key, "-subj", f"/CN={name}"]

    def _openssl(self, *arguments: str) -> None:
        done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, timeout=30)
        if done.returncode:
            raise Failed(f"openssl made no certificate: {done.stderr.strip()}")


def _added(*extensions: str) -> list[str]:
    return [word for extension in extensions for word in ("-addext", extension)]


def _folder(world: World, name: str) -> Path:
    if missing := {"--tls-cert", "--tls-key", "--tls-client-ca"} - world.flags:
        raise Failed(f"`userdata serve` has no {', '.join(sorted(missing))}")
    folder = world.folder / name
    folder.mkdir()
    return folder


def _client(authority: Certificates, certificate: tuple[Path, Path] | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority.pem))
    context.set_alpn_protocols(["h2"])
    if certificate:
        context.load_cert_chain(*certificate)
    return context


def _call(address: Address, context: ssl.SSLContext) -> None:
    caller = Caller(address, [], context)
    try:
        caller.call(HEALTH, message())
    finally:
        caller.close()


def nothing_old_is_offered(world: World) -> tuple[str, None]:
    """sslscan asks for everything. Survived when TLS 1.2 and 1.3 are all there is, without weak ciphers, compression or Heartbleed."""
    certificate, key = Certificates(_folder(world, "tls-scan"), "authority").sign("server", SERVER_NAMES)
    with Server(world, "--tls-cert", str(certificate), "--tls-key", str(key)) as server:
        return scanned(server.address), None


def scanned(address: Address) -> str:
    """What sslscan found; fails if anything is old or weak."""
    command = ["sslscan", "--no-colour", "--xml=-", f"{address[0]}:{address[1]}"]
    found = xml.fromstring(subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout)
    versions = {f"{one.get('type')}v{one.get('version')}" for one in found.iter("protocol") if one.get("enabled") == "1"}
    ciphers = {one.get("cipher", ""): one.get("strength") for one in found.iter("cipher")}
    bad = sorted(name for name, strength in ciphers.items() if strength not in ("strong", "acceptable"))
    bad += [f"Heartbleed on {one.get('sslversion')}" for one in found.iter("heartbleed") if one.get("vulnerable") != "0"]
    bad += ["compression" for one in found.iter("compression") if one.get("supported") != "0"]
    bad += sorted(versions - {"tlsv1.2", "tlsv1.3"})
    if bad or versions != {"tlsv1.2", "tlsv1.3"} or not ciphers:
        raise Failed(f"sslscan found {', '.join(bad) or 'not both TLS 1.2 and 1.3'}")
    return f"{' and '.join(sorted(versions))}, {len(ciphers)} ciphers"


def strangers_are_refused(world: World) -> tuple[str, None]:
    """Clients without a certificate, with one of another authority, with one that has expired. Survived when none of them gets an answer,
    and one with the right certificate does, before them and after.
    """
    folder = _folder(world, "tls-clients")
    servers, clients, foreign = (Certificates(folder, name) for name in ("servers", "clients", "foreign"))
    certificate, key = servers.sign("server", SERVER_NAMES)
    use = "extendedKeyUsage=clientAuth"
    strangers = {
        "without a certificate": None,
        "of another authority": foreign.sign("stranger", use),
        "of long ago": clients.sign("former", use, days=0),
    }
    flags = ["--tls-cert", str(certificate), "--tls-key", str(key), "--tls-client-ca", str(clients.pem)]
    with Server(world, *flags) as server:
        friend = _client(servers, clients.sign("friend", use))
        _call(server.address, friend)
        time.sleep(1.5)  # until the certificate of 0 days is one of long ago
        for kind, shown in strangers.items():
            try:
                _call(server.address, _client(servers, shown))
            except (OSError, Failed):
                continue
            raise Failed(f"a client {kind} was answered")
        _call(server.address, friend)
    return f"{len(strangers)} refused: {', '.join(strangers)}", None


class Handshakes(threading.Thread):
    """Connects again and again until told to stop."""

    def __init__(self, address: Address, context: ssl.SSLContext):
        super().__init__(daemon=True)
        self.address, self.context = address, context
        self.stop = threading.Event()
        self.done, self.serial = 0, ""
        self.failures: list[str] = []

    def run(self) -> None:
        """The loop."""
        while not self.stop.is_set():
            try:
                caller = Caller(self.address, [], self.context)
                caller.call(HEALTH, message())
                self.serial = caller.serial
                caller.close()
            except (OSError, Failed) as error:
                self.failures.append(str(error))
            self.done += 1


def reloads_while_clients_come(world: World) -> tuple[str, None]:
    """20 times a new certificate and its key take the place of the old ones, file by file, while clients make 1,000 connections with a
    call each. Survived when none of them fails, a call that began before still works, and each certificate comes into use.
    """
    folder, reloads = _folder(world, "tls-reloads"), 5 if world.quick else RELOADS
    authority = Certificates(folder, "authority")
    pairs = [authority.sign(f"server-{number}", SERVER_NAMES) for number in range(reloads + 1)]
    certificate, key = folder / "serving.pem", folder / "serving.key"
    context, began = _client(authority), time.monotonic()

    def put_in_place(number: int) -> str:
        os.replace(pairs[number][0], certificate)
        os.replace(pairs[number][1], key)
        command = ["openssl", "x509", "-in", str(certificate), "-noout", "-serial"]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip().removeprefix("serial=")

    put_in_place(0)
    with Server(world, "--tls-cert", str(certificate), "--tls-key", str(key)) as server:
        old = Caller(server.address, [], context)
        threads = [Handshakes(server.address, context) for _ in range(AT_ONCE)]
        for thread in threads:
            thread.start()
        try:
            for number in range(1, reloads + 1):
                serial, end = put_in_place(number), time.monotonic() + NOTICED_WITHIN
                while any(thread.serial != serial for thread in threads):
                    if time.monotonic() > end:
                        raise Failed(f"certificate {number} was not in use {NOTICED_WITHIN} s later")
                    time.sleep(0.01)
                old.call(HEALTH, message())
            while sum(thread.done for thread in threads) < HANDSHAKES and time.monotonic() < began + 300:
                time.sleep(0.01)
        finally:
            for thread in threads:
                thread.stop.set()
            for thread in threads:
                thread.join(10)
    done, failures = sum(thread.done for thread in threads), [failure for thread in threads for failure in thread.failures]
    if failures or done < HANDSHAKES:
        raise Failed(f"{len(failures)} of {done} connections failed: {failures[:1]}")
    return f"{reloads} reloads, {done} connections, 0 failures", None
