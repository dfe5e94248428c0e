"""Whole small research runs: nobody is promoted on a null history, what is planted is found (long: a hundred of each)."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from real_history import FOLDER
from typer.testing import CliRunner

from hydra_core.cli.main import app
from hydra_core.research.audit.canary import canary, next_moves
from hydra_core.research.truth import bench, measures, recorded
from hydra_core.research.truth.histories import NULLS, PLANTED, History, history
from hydra_core.research.truth.runs import YEAR, bars_needed, caps_of, research_run


def test_a_history_has_the_years_asked_for() -> None:
    bars, share = bars_needed(5, 2)
    assert bars * share == pytest.approx(2 * YEAR)
    assert bars * (1 - share) * 0.6 == pytest.approx(5 * YEAR, rel=0.05)


def test_a_short_run_on_noise_promotes_nobody_and_says_why() -> None:
    bars, share = bars_needed(0.8, 0.4)
    made = research_run(history("garch", bars, 3, pairs=3), share)
    assert not made.promoted
    assert {"trades", "dsr"} <= set(made.failed)
    json.dumps(made.to_json())


def test_a_short_run_on_a_planted_signal_is_promoted() -> None:
    """A stronger signal than in a full run, a correlation of .3, in place of more years: the same gates pass."""
    bars, share = bars_needed(0.8, 0.4)
    made = research_run(history(PLANTED, bars, 3, rho=0.3), share)
    assert made.promoted, made.failed
    assert made.correlation == pytest.approx(0.3, abs=0.1)


def with_canary(made: History) -> History:
    """The history with a column that knows each next bar, at a correlation of .3."""
    told = canary(next_moves(made.panel))[:, :, None].astype(np.float32)
    return replace(made, features=np.concatenate([made.features, told], axis=2), names=(*made.names, "told"))


def test_l3_a_leak_on_noise_is_named_and_promotes_nobody() -> None:
    """The same noise with a canary among its columns: the screen names that column, so no profit of it counts."""
    bars, share = bars_needed(0.8, 0.4)
    made = research_run(with_canary(history("garch", bars, 3, pairs=3)), share)
    assert not made.promoted
    assert "leak_suite" in made.failed


def test_caps_are_those_of_a_real_market_where_nothing_is_planted() -> None:
    null = history("gaussian", 200, 1)
    assert caps_of(null).correlation == 0.10
    planted = history(PLANTED, 200, 1, rho=0.2)
    assert caps_of(planted).correlation == pytest.approx(0.22)
    assert caps_of(planted).sharpe == np.inf


def test_the_crowds_fit_finds_a_known_hazard() -> None:
    assert measures.hazard_found(3, 20_000).value > 0.9


def test_the_table_from_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYDRA_DATA_ROOT", str(tmp_path))
    asked = ["bench", "truth", "--quick", "--rows", "hawkes real", "--seeds", "4,8", "--jobs", "1"]
    said = CliRunner().invoke(app, [*asked, "--json"])
    assert said.exit_code == 0, said.output
    rows = json.loads(said.stdout.splitlines()[-1])
    assert [set(row) >= {"name", "ours", "reference", "ratio", "goal", "holds"} for row in rows] == [True]
    assert len((tmp_path / "truth" / bench.READINGS).read_text().splitlines()) == 5
    shown = CliRunner().invoke(app, asked)
    assert "Hawkes" in shown.stdout
    assert "left out: real data" in shown.stdout
    assert CliRunner().invoke(app, ["bench", "truth", "--seeds", "x"]).exit_code == 2
    assert CliRunner().invoke(app, ["bench", "truth", "--rows", "nonsense"]).exit_code == 2


def hourly_returns() -> np.ndarray:
    """Hourly log returns of the recorded pairs where there is a history, else of as many fat-tailed draws."""
    if not (FOLDER / "candles" / "1h").exists():
        return 0.006 * np.random.default_rng(5).standard_t(4, (40_000, 4))
    moves = np.diff(np.log(recorded.hours(FOLDER).close), axis=0)
    return moves[np.isfinite(moves).all(axis=1)]


@pytest.mark.long
@pytest.mark.timeout(3_600)
def test_l3_a_hundred_null_histories_promote_one_at_most() -> None:
    """Full runs, the three kinds in turn; recorded returns with random signs where a history is there."""
    returns, (bars, share) = hourly_returns(), bars_needed()
    kinds = [NULLS[seed % len(NULLS)] for seed in range(100)]
    made = [research_run(history(kind, bars, seed, recorded=returns), share) for seed, kind in enumerate(kinds)]
    assert sum(run.promoted for run in made) <= 1, [
        (kind, run) for kind, run in zip(kinds, made, strict=True) if run.promoted
    ]


@pytest.mark.long
@pytest.mark.timeout(3_600)
def test_l3_leaks_on_null_histories_promote_nobody() -> None:
    """The same at full length, on both kinds that need no record."""
    bars, share = bars_needed()
    made = [research_run(with_canary(history(kind, bars, seed)), share) for kind in NULLS[:2] for seed in (50, 51)]
    assert [run.promoted for run in made] == [False] * 4
    assert all("leak_suite" in run.failed for run in made)


@pytest.mark.long
@pytest.mark.timeout(3_600)
def test_planted_histories_are_found() -> None:
    made = [measures.planted_run(seed, 5) for seed in range(20)]
    assert np.mean([one.reference for one in made]) == pytest.approx(4, abs=0.5)
    assert sum(one.value for one in made) >= 17, [one.notes["failed"] for one in made]
