"""The benchmarks' table writer and the arithmetic of a row; that peers compute what ours computes. No time is asserted."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from benchmarks import __main__ as command
from benchmarks.research import engine_beside_vectorbt, features, in_pandas
from benchmarks.rows import AT_LEAST, AT_MOST, Report, Row, Turns, show, side_by_side, significant, write_rows
from hydra_core.alpha.features import features as registered


@pytest.mark.parametrize(
    ("ours", "peer", "goal", "sense", "ratio", "holds"),
    [
        (300.0, 100.0, 3.0, AT_LEAST, 3.0, True),
        (299.9, 100.0, 3.0, AT_LEAST, 2.999, False),
        (20.0, 2.0, 10.0, AT_MOST, 10.0, True),
        (20.1, 2.0, 10.0, AT_MOST, 10.05, False),
        (1.0, 4.0, 1.0, AT_LEAST, 0.25, False),
    ],
)
def test_a_row_is_judged_by_its_ratio_and_sense(
    ours: float, peer: float, goal: float, sense: str, ratio: float, holds: bool
) -> None:
    row = Row("x", ours, peer, goal, "unit", sense)
    assert row.ratio == pytest.approx(ratio)
    assert row.holds is holds
    told = row.to_json()
    assert {"name", "ours", "peer", "ratio", "goal", "holds"} <= set(told)
    assert told["holds"] is holds


def test_a_row_just_short_of_its_goal_is_not_rounded_into_holding() -> None:
    row = Row("close", 2.9999999, 1.0, 3.0, "x")
    assert (row.to_json()["ratio"], row.holds) == (3.0, False)


@pytest.mark.parametrize(("ours", "peer"), [(0.0, 1.0), (1.0, 0.0), (float("nan"), 1.0)])
def test_a_figure_that_is_no_measurement_is_refused(ours: float, peer: float) -> None:
    with pytest.raises(ValueError, match="above zero"):
        Row("x", ours, peer, 1.0, "x")


def test_an_unknown_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="goal is"):
        Row("x", 1.0, 1.0, 1.0, "x", "roughly")


def test_rows_are_kept_as_a_list_and_shown_with_what_was_left_out(tmp_path: Path) -> None:
    rows = [Row("fast", 30.0, 10.0, 2.0, "bars/s", notes="a peer"), Row("slow", 30.0, 2.0, 10.0, "ms", AT_MOST)]
    path = write_rows("group", rows, tmp_path)
    assert path == tmp_path / "group.json"
    assert [row["holds"] for row in json.loads(path.read_text())] == [True, False]
    assert sorted(one.name for one in tmp_path.iterdir()) == ["group.json"]
    screen = io.StringIO()
    report = Report()
    report.leave_out("on a GPU", "there is none")
    show("group", rows, report.left_out, Console(file=screen, width=120))
    said = screen.getvalue()
    assert all(word in said for word in ("fast", "slow", "3.00", "15.00", "yes", "no", "on a GPU", "there is none"))


def test_both_sides_are_run_in_turns() -> None:
    calls: list[str] = []
    turns = side_by_side(lambda: calls.append("ours"), lambda: calls.append("peer"), repeats=2)
    assert calls == ["ours", "peer"] * 3
    assert len(turns.taken) == 2


def test_turns_are_told_by_their_medians_and_their_spread() -> None:
    turns = Turns(((1.0, 2.0), (2.0, 3.0), (4.0, 2.0)))
    assert (turns.ours, turns.peer) == (2.0, 2.0)
    assert str(turns) == "3 turns, ratio from 0.5 to 2"


def test_significant_digits() -> None:
    assert (significant(123456.0), significant(0.000123456)) == (123500.0, 0.0001235)


def test_the_pandas_peer_computes_sixty_registered_features() -> None:
    assert len(in_pandas.COLUMNS) == 60
    assert set(in_pandas.COLUMNS) <= {member.name for member in registered()}
    found = features.apart(features.example(5_000))
    assert {name: by for name, by in found.items() if not by < features.TOLERANCE} == {}


def test_the_backtest_peer_is_given_signals_that_trade() -> None:
    forecast = engine_beside_vectorbt.forecast(engine_beside_vectorbt.candles(3_000))
    known = np.isfinite(forecast.confidence)
    assert (forecast.confidence[known] >= 0.6).mean() > 0.01


def test_the_command_prints_one_json_object_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Group:
        @staticmethod
        def measure(report: Report) -> list[Row]:
            report.leave_out("elsewhere", "not on this machine")
            return [Row("one", 2.0, 1.0, 1.5, "x")]

    monkeypatch.setattr(command.importlib, "import_module", lambda name: Group)
    monkeypatch.setattr(
        command, "write_rows", lambda group, rows, beside_others: write_rows(group, rows, tmp_path, beside_others)
    )
    assert command.main(["research", "--json"]) == 0
    told = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert told["groups"]["research"][0]["holds"] is True
    assert told["left_out"] == {"elsewhere": "not on this machine"}


def test_an_unknown_group_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        command.main(["nonsense"])
    assert stop.value.code == 2
    assert "decision" in capsys.readouterr().err
