"""Each code location loads in a fresh interpreter, quickly, without the slow libraries: every run pays for its import."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from hydra_core.home import Home
from hydra_core.platform.processes import PROJECT, child_environment
from hydra_core.settings import Settings

HEAVY = (
    "torch",
    "stable_baselines3",
    "great_expectations",
    "ccxt",
    "lightgbm",
    "sklearn",
    "optuna",
    "matplotlib",
    "numba",
    "feedparser",
    "vaderSentiment",
)
PROBE = """
import json, sys, time
began = time.perf_counter()
from dagster import Definitions
middle = time.perf_counter()
from hydra_dagster.{module} import defs
Definitions.validate_loadable(defs)
took = time.perf_counter()
print(json.dumps({{"modules": sorted(sys.modules), "dagster_s": middle - began, "ours_s": took - middle}}))
"""


@pytest.mark.parametrize("module", ["definitions", "live"])
def test_a_code_location_loads_without_the_slow_libraries(module: str, home: Home) -> None:
    environment = child_environment(home, Settings(data_root=home.root), threads=1, venue_url="")
    code = PROBE.format(module=module)
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    loaded = {name.split(".")[0] for name in told["modules"]}
    assert loaded.isdisjoint(HEAVY), sorted(loaded & set(HEAVY))
    print(f"{module}: dagster {told['dagster_s']:.2f} s, the location itself {told['ours_s']:.2f} s")


def test_the_domain_never_imports_dagster() -> None:
    """By its text: import-linter holds the same for the import graph."""
    guilty = [
        str(path.relative_to(PROJECT))
        for path in (PROJECT / "hydra_core").rglob("*.py")
        for line in path.read_text().splitlines()
        if line.strip().startswith(("import dagster", "from dagster", "import hydra_dagster", "from hydra_dagster"))
    ]
    assert guilty == []


@pytest.mark.long
def test_dagster_itself_accepts_the_workspace(home: Home) -> None:
    environment = child_environment(home, Settings(data_root=home.root), threads=1, venue_url="")
    command = [sys.executable, "-m", "dagster", "definitions", "validate", "-w", "workspace.yaml"]
    done = subprocess.run(command, env=environment, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_both_instance_files_are_accepted_and_differ_in_storage_alone(home: Home, tmp_path: Path, monkeypatch) -> None:
    import yaml
    from dagster._core.instance.config import dagster_instance_config

    for name, value in child_environment(home, Settings(data_root=home.root), threads=1, venue_url="").items():
        monkeypatch.setenv(name, value)
    parts = {}
    for name, path in (
        ("sqlite", PROJECT / "dagster.yaml"),
        ("postgres", PROJECT / "deploy" / "dagster.postgres.yaml"),
    ):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "dagster.yaml").write_text(path.read_text())
        config, _ = dagster_instance_config(str(folder))
        assert not config["telemetry"]["enabled"]
        parts[name] = {key: value for key, value in yaml.safe_load(path.read_text()).items() if key != "storage"}
    assert parts["sqlite"] == parts["postgres"]
