"""The real addresses on loopback: an authority of our own, and a resolver that knows the exchange's names and nothing else.

HYDRA is opened as for the real exchange, no address overridden: ccxt picks its table of errors by the real host's name.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import socket
import ssl
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import aiohttp.abc
import aiohttp.connector
import certifi
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from venue_harness import synthetic

from hydra_core.domain.clock import AnchoredClock, ClockAnchor
from hydra_core.venue import VenueConfig, serve

DOMAIN = "binance.com"
BORN = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)


def authority(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """An authority's certificate, and a server's context with one that it signed for the exchange's names."""
    root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    root_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "HYDRA tests")])

    def certificate(name: x509.Name, public: Any) -> x509.CertificateBuilder:
        life = datetime.timedelta(days=36_500)
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(root_name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(BORN)
            .not_valid_after(BORN + life)
        )

    root = (
        certificate(root_name, root_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(root_key, hashes.SHA256())
    )
    leaf_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"fapi.{DOMAIN}")])
    leaf = (
        certificate(leaf_name, key.public_key())
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(f"*.{DOMAIN}")]), critical=False)
        .sign(root_key, hashes.SHA256())
    )
    pem, none = serialization.Encoding.PEM, serialization.NoEncryption()
    root_file, leaf_file, key_file = folder / "ca.pem", folder / "leaf.pem", folder / "key.pem"
    root_file.write_bytes(root.public_bytes(pem))
    leaf_file.write_bytes(leaf.public_bytes(pem))
    key_file.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, none))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(leaf_file, key_file)
    return root_file, context


def resolver_to(port: int, asked: list[str]) -> type[aiohttp.abc.AbstractResolver]:
    """A resolver class by which the exchange's hosts are this port on loopback, and no other host exists."""

    class Loopback(aiohttp.abc.AbstractResolver):
        def __init__(self, *_: Any, **__: Any) -> None:
            return

        async def resolve(self, host: str, port_: int = 0, family: Any = socket.AF_INET) -> list[Any]:
            asked.append(host)
            if not host.endswith(f".{DOMAIN}"):
                raise OSError(f"no such host in this test: {host}")
            found = {"hostname": host, "host": "127.0.0.1", "port": port, "proto": 0, "flags": socket.AI_NUMERICHOST}
            return [{**found, "family": socket.AF_INET}]

        async def close(self) -> None:
            return

    return Loopback


class RealNames:
    """A venue behind the exchange's own host names."""

    def __init__(self, port: int, session: aiohttp.ClientSession, asked: list[str]) -> None:
        self.port = port
        self.asked = asked
        self._session = session
        self.clock = AnchoredClock(ClockAnchor(synthetic().start_ms, 0, 1.0, True))

    async def control(self, method: str, place: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        async with self._session.request(method, f"https://fapi.{DOMAIN}/_venue/{place}", json=body) as answer:
            assert answer.status == 200, await answer.text()
            told: dict[str, Any] = await answer.json()
        if "market_ms" in told:
            self.clock.set_anchor(ClockAnchor(told["market_ms"], told["wall_ms"], told["speed"], told["held"]))
        return told


@contextlib.asynccontextmanager
async def real_names(folder: Path, patch: pytest.MonkeyPatch) -> AsyncIterator[RealNames]:
    """Serve a venue over TLS and have every name and certificate of this process lead to it."""
    root, context = authority(folder)
    market = synthetic()
    config = VenueConfig(
        market=market, host="127.0.0.1", port=0, state_dir=folder / "venue", held=True, start_ms=market.start_ms,
        balance=Decimal(10_000),
    )  # fmt: skip
    stop, port = asyncio.Event(), asyncio.get_running_loop().create_future()
    task = asyncio.create_task(serve(config, stop=stop, ready=lambda _, number: port.set_result(number), tls=context))
    await asyncio.wait({task, port}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        await task
    asked: list[str] = []
    patch.setattr(aiohttp.connector, "DefaultResolver", resolver_to(port.result(), asked))
    patch.setattr(aiohttp.connector, "_SSL_CONTEXT_VERIFIED", ssl.create_default_context(cafile=str(root)))
    patch.setattr(certifi, "where", lambda: str(root))
    try:
        async with aiohttp.ClientSession() as session:
            venue = RealNames(port.result(), session, asked)
            await venue.control("GET", "clock")
            yield venue
    finally:
        stop.set()
        await task
