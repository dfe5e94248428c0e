"""Dagster on PostgreSQL, as `deploy/dagster.postgres.yaml` sets it up: a run is queued, launched and remembered there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from postgres_server import empty_database, own_server

from hydra_core.home import Home
from hydra_core.platform.control import Platform
from hydra_core.settings import PlatformSettings, Settings

SHIPPED = Path(__file__).parents[2] / "deploy" / "dagster.postgres.yaml"


@pytest.fixture
def database() -> Iterator[str]:
    """URL of an empty database on a server of our own."""
    with own_server() as server, empty_database(server, "dagster") as url:
        yield url


def test_a_run_is_launched_and_remembered_on_postgresql(
    home: Home, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shipped file with the address of a local socket in place of host and user; nothing else is changed."""
    written, changes = re.subn(
        r"postgres_db:\n(?: {6}.*\n)+", f'postgres_url: "{database}"\n', SHIPPED.read_text(), count=1
    )
    assert changes == 1
    folder = tmp_path / "dagster_home"
    folder.mkdir()
    (folder / "dagster.yaml").write_text(written)
    monkeypatch.setenv("DAGSTER_HOME", str(folder))
    ports = PlatformSettings(research_port=26266, live_port=26267, live_sensor=False)
    settings = Settings(data_root=home.root, market=home.market, platform=ports)
    with Platform(home, settings, ("storage", "live", "daemon"), tied=True) as platform, platform.console() as console:
        outcome = console.run("prune_windows", "hydra_live")
    assert outcome.succeeded, outcome.error
    engine = sa.create_engine(database)
    with engine.connect() as connection:
        runs = connection.execute(sa.text("SELECT run_id, status, pipeline_name FROM runs")).all()
    engine.dispose()
    assert [tuple(run) for run in runs] == [(outcome.run_id, "SUCCESS", "prune_windows")]
    assert not list(home.dagster.rglob("runs.db")), "nothing is kept in SQLite beside it"
