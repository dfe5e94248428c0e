"""A market home, an in-memory Dagster instance, and the resource that joins them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster_moment import NOW_MS

from hydra_core.home import Home, home_named
from hydra_core.platform.markets import MarketDescription, describe_home
from hydra_core.settings import Settings
from hydra_dagster.resources import Workshop, WorkshopResource


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = home_named(tmp_path, "synthetic-7-0.3").create()
    describe_home(made, MarketDescription("synthetic", seed=7, signal=0.3, days=120, start_ms=NOW_MS))
    return made


@pytest.fixture
def workshop(home: Home) -> Workshop:
    return Workshop(home, Settings(data_root=home.root, market=home.market))


@pytest.fixture
def resource(home: Home) -> WorkshopResource:
    return WorkshopResource(data_root=str(home.root), market=home.market)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made
