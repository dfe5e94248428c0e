"""``hydra audit-leaks`` end to end: a clean folder of recorded history, a leaky feature, and champions with figures."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner, Result

from hydra_core.alpha.features import registry as features
from hydra_core.alpha.models import CROWD, FORECASTER, POLICY
from hydra_core.alpha.registry import Card, ModelRegistry, write_card
from hydra_core.cli import research
from hydra_core.cli.main import app
from hydra_core.domain.intervals import Interval, parse_time
from hydra_core.home import home_named, use_home
from hydra_core.research.audit import suite
from hydra_core.statistics.view import View

START = parse_time("2025-03-03")
DAYS = 26
BARS = DAYS * 288


def write(path: Path, columns: dict[str, Any], ts: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    stamps = pl.Series("ts", ts).cast(pl.Datetime("ms", "UTC"))
    pl.DataFrame({"ts": stamps, **columns}).write_parquet(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty-six days of two pairs without anything to find: candles, funding, open interest and ratios."""
    root, rng = tmp_path_factory.mktemp("history"), np.random.default_rng(4)
    ts = START + Interval.M5.ms * np.arange(BARS, dtype=np.int64)
    settled = ts[::96]
    for pair, price in (("BTCUSDT", 60_000.0), ("ETHUSDT", 3_000.0)):
        close = np.round(price * np.exp(np.cumsum(rng.normal(0, 1e-3, BARS))), 2)
        opened = np.concatenate([[price], close[:-1]])
        wiggle = 1 + np.abs(rng.normal(0, 5e-4, (2, BARS)))
        bars = {"open": opened, "high": np.round(np.maximum(opened, close) * wiggle[0] + 0.01, 2),
                "low": np.round(np.minimum(opened, close) / wiggle[1] - 0.01, 2), "close": close,
                "volume": np.round(rng.lognormal(3, 0.3, BARS), 3)}  # fmt: skip
        write(root / f"candles/5m/{pair}.parquet", bars, ts)
        write(root / f"funding/{pair}.parquet", {"rate": rng.normal(1e-4, 5e-5, settled.size)}, settled)
        interest = np.round(1e5 * np.exp(np.cumsum(rng.normal(0, 1e-3, BARS))), 3)
        write(root / f"open_interest/{pair}.parquet",
              {"open_interest": interest, "open_interest_value": interest * close}, ts)  # fmt: skip
        ratio = np.round(np.exp(0.1 * rng.normal(size=BARS)), 4)
        write(root / f"long_short/{pair}.parquet", {"long_short_ratio": ratio}, ts)
    return root


@pytest.fixture
def peeking() -> Iterator[str]:
    """A registered feature that knows the next bar, for as long as a test runs."""
    name = "planted_peek"

    @features.feature(name, 2)
    def planted_peek(view: View) -> Any:
        moved = np.diff(np.log(view.panel.close), axis=0, append=np.log(view.panel.close[-1:]))
        return moved * 100

    yield name
    features._REGISTRY.pop(name)


def audited(*words: str) -> Result:
    return CliRunner().invoke(app, ["audit-leaks", "--rows", "2", "--json", *words])


def told(result: Result) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return found


def test_a_clean_folder_ends_in_zero_and_says_what_it_could_not_judge(folder: Path) -> None:
    result = audited("--data", str(folder))
    assert result.exit_code == 0, result.output
    said = told(result)
    assert said["leaks"] == []
    assert said["checks"] == ["L1", "L10", "L2", "L5", "L6", "L8"]
    assert said["not_judged"] == {"L9": "a folder has no champions"}
    assert {line["name"] for line in said["lines"] if line["check"] == "L8"} >= {
        "close",
        "funding_rate",
        "open_interest",
    }


def test_a_leaky_feature_ends_in_one_and_is_named(folder: Path, peeking: str) -> None:
    result = audited("--data", str(folder))
    assert result.exit_code == 1, result.output
    said = told(result)["leaks"]
    assert any(line.startswith(f"L1 {peeking}: ") for line in said)
    assert any(line.startswith(f"L5 {peeking}: ") for line in said)
    assert all(peeking in line or line.startswith("L6 ") for line in said), said


HONEST = {
    FORECASTER: {"correlation": 0.04, "correlation_low": 0.02, "accuracy": 0.51, "accuracy_error": 0.01,
                 "sharpe_error": 1.0},
    CROWD: {"base_rate": 0.02, "pr_auc": 0.12, "pr_auc_low": 0.08, "ratio": 1.5, "ratio_low": 1.1},
    POLICY: {"sharpe": 2.0, "sharpe_error": 1.0},
}  # fmt: skip


def seated(home_models: Path, folder: Path, figures: dict[str, dict[str, float]], sharpe: float = 2.0) -> None:
    registry = ModelRegistry(home_models)
    for kind, metrics in figures.items():
        made = folder / kind
        made.mkdir(parents=True)
        write_card(made, Card(kind=kind, inputs=("candles",), lookback=10, horizon_bars=48))
        version = registry.save(kind, made)
        if metrics:
            verdict = {"passed": True, "metrics": metrics, "backtest": {"sharpe": sharpe}}
            registry.attach(kind, version, "validation.json", json.dumps(verdict).encode())
        registry.promote(kind, version, {}, at_ms=1)


@pytest.mark.parametrize(
    ("changed", "sharpe", "finding"),
    [
        ({}, 2.0, ""),
        ({FORECASTER: {"correlation": 0.4, "correlation_low": 0.3}}, 2.0, "L9 forecaster"),
        ({}, 9.0, "L9 forecaster"),
        ({CROWD: {"pr_auc": 0.8, "pr_auc_low": 0.7}}, 2.0, "L9 crowd"),
        ({CROWD: {"ratio": 9.0, "ratio_low": 6.0}}, 2.0, "L9 crowd"),
        ({POLICY: {"sharpe": 9.0}}, 2.0, "L9 policy"),
        ({POLICY: None}, 2.0, "L9 policy"),
    ],
)
def test_champions_answer_for_the_figures_that_they_were_seated_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any], sharpe: float, finding: str
) -> None:
    """The rest of the suite stands aside: the lake's own audit is the folder's."""
    monkeypatch.setenv("HYDRA_DATA_ROOT", str(tmp_path / "data"))
    home = use_home(home_named(tmp_path / "data", "binanceusdm"))
    panel = SimpleNamespace(pairs=(), ts=np.array([0]), close_ms=np.array([1]))
    monkeypatch.setattr(research, "newest_panel", lambda *_: panel)
    monkeypatch.setattr(suite, "audit_history", lambda *_, **__: [])
    assert told(audited("--market", "binanceusdm"))["not_judged"] == {"L9": "no champion"}
    figures = {
        kind: {} if changed.get(kind, 0) is None else {**HONEST[kind], **changed.get(kind, {})} for kind in HONEST
    }
    seated(home.models, tmp_path / "made", figures, sharpe)
    result = audited("--market", "binanceusdm")
    said = told(result)
    assert result.exit_code == bool(finding), result.output
    assert said["checks"] == ["L9"]
    assert not said["not_judged"]
    assert [line.rsplit(" ", 1)[0].startswith(finding) for line in said["leaks"]] == [True] * bool(finding)
