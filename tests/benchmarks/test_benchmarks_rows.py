"""The benchmarks' table writer and the arithmetic of a row; that peers compute what ours computes. No time is asserted."""

from __future__ import annotations

import io
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from benchmarks import __main__ as command
from benchmarks.research import (
    PARTS,
    backtests,
    engine_beside_vectorbt,
    event_replay,
    features,
    in_pandas,
    layer2,
    retraining,
    training,
)
from benchmarks.rows import (
    AT_LEAST,
    AT_MOST,
    Disagreement,
    Report,
    Row,
    Turns,
    show,
    side_by_side,
    significant,
    write_rows,
)
from hydra_core.alpha.features import features as registered
from hydra_core.home import Home


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
    calls.clear()
    side_by_side(lambda: calls.append("ours"), lambda: calls.append("peer"), 3, warm_up=False, swapping=True)
    assert calls == ["ours", "peer", "peer", "ours", "ours", "peer"]


def test_turns_are_told_by_their_medians_and_their_spread() -> None:
    turns = Turns(((1.0, 2.0), (2.0, 3.0), (4.0, 2.0)))
    assert (turns.ours, turns.peer) == (2.0, 2.0)
    assert str(turns) == "3 turns, ratio from 0.5 to 2"
    assert turns.middle == (2.0, 3.0), "a turn that was, not medians of different turns"
    assert Turns(turns.taken[1:]).middle == (4.0, 2.0)


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


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the command keeps rows."""
    monkeypatch.setattr(command, "write_rows", lambda *given, **named: write_rows(*given, folder=tmp_path, **named))
    return tmp_path


def test_the_command_prints_one_json_object_last(
    kept: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Group:
        @staticmethod
        def measure(report: Report) -> list[Row]:
            report.leave_out("elsewhere", "not on this machine")
            return [Row("one", 2.0, 1.0, 1.5, "x")]

    monkeypatch.setattr(command.importlib, "import_module", lambda name: Group)
    assert command.main(["research", "--json"]) == 0
    told = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert told["groups"]["research"][0]["holds"] is True
    assert told["left_out"] == {"elsewhere": "not on this machine"}
    assert [row["name"] for row in json.loads((kept / "research.json").read_text())] == ["one"]


def test_parts_are_kept_as_they_come_and_one_that_disagrees_stops_no_other(
    kept: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def differs(report: Report) -> list[Row]:
        raise Disagreement("one earns 1, the other 2")

    def elsewhere(report: Report) -> list[Row]:
        report.leave_out("on a GPU", "there is none")
        return []

    parts: dict[str, command.Part] = {
        "first": lambda report: [Row("one", 2.0, 1.0, 1.5, "x")],
        "second": differs,
        "third": lambda report: [Row("three", 3.0 if report.quick else 4.0, 1.0, 1.5, "x")],
        "fourth": elsewhere,
    }
    group = SimpleNamespace(PARTS=parts)
    monkeypatch.setattr(command.importlib, "import_module", lambda name: group)
    write_rows("research", [Row("old", 1.0, 1.0, 1.0, "x"), Row("on a GPU", 1.0, 1.0, 1.0, "x")], kept)
    file = kept / "research.json"
    assert command.main(["research", "--quick", "--json"]) == 1
    assert [row["name"] for row in json.loads(file.read_text())] == ["old", "on a GPU"], "a quick run keeps nothing"
    assert command.main(["research", "--json"]) == 1
    told = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert told["disagreements"] == {"second": "one earns 1, the other 2"}
    assert [row["name"] for row in json.loads(file.read_text())] == ["old", "on a GPU", "one", "three"]
    monkeypatch.setitem(parts, "second", lambda report: [])
    assert command.main(["research", "--part", "third", "--json"]) == 0
    assert "old" in file.read_text()
    assert command.main(["research", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(file.read_text())}
    assert list(rows) == ["on a GPU", "one", "three"], "names that nothing measures any more go"
    assert rows["three"]["measured"].count(",") == 2
    with pytest.raises(SystemExit):
        command.main(["research", "--part", "fifth"])


def test_a_row_tells_itself_in_a_sentence() -> None:
    assert Row("features", 717_700.0, 309_500.0, 3.0, "rows/s").sentence == (
        "features: 718,000 rows/s beside 310,000, 2.32 times (goal at least 3, missed)"
    )
    assert Row("Hawkes fit", 0.28, 0.26, 2.0, "s", AT_MOST).to_json()["says"].endswith("(goal at most 2, reached)")


def test_every_speed_that_is_promised_has_a_part() -> None:
    assert set(PARTS) == {
        "engine", "features", "chain", "replay", "training", "hawkes", "merton", "live", "retraining",
        "memory",
    }  # fmt: skip
    assert list(PARTS)[-2:] == ["retraining", "memory"]


def test_a_longer_history_than_one_market_has_goes_on_where_each_part_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retraining, "MOST_DAYS", 3)
    made = retraining.history(5 * 288)
    part = retraining.market.panel(3)
    assert len(made) == 5 * 288
    seam = 2 * 288 - 1  # the first three of six days end here, one day being cut off before them
    assert np.allclose(made.open[seam + 1], made.close[seam])
    assert np.array_equal(made.close[: seam + 1], part.close[288:])
    assert np.abs(np.diff(np.log(made.close), axis=0)).max() < 0.2
    assert np.allclose((made.open_interest * made.close)[0], (part.open_interest * part.close)[288], equal_nan=True)


def test_ours_replays_the_job_that_the_peer_is_given(tmp_path: Path) -> None:
    job = event_replay.job(400)
    told = event_replay.ours(job, Home(tmp_path, "replay").create())
    change = np.diff(job["wanted"], axis=0, prepend=0.0)
    traded = (np.abs(change) * job["close"]).sum()
    assert told["fills"] == (change != 0).sum() + (job["wanted"][:-1] * job["wanted"][1:] < 0).sum() > 8
    assert told["profit"] == pytest.approx(-(change * job["close"]).sum() - 0.0005 * traded, abs=1e-4)
    assert event_replay.require_agreement(told, {**told, "profit": told["profit"] + 1e-8 * traded}) < 1e-7
    for other in ({"fills": told["fills"] + 1}, {"profit": told["profit"] + 1e-4 * traded}, {"open": 1}):
        with pytest.raises(Disagreement, match="on the same job"):
            event_replay.require_agreement(told, {**told, **other})


def test_what_is_not_installed_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    report = Report(quick=True)
    monkeypatch.setattr(event_replay, "PEERS", tmp_path / "none")
    assert event_replay.measure(report) == []
    monkeypatch.setattr(backtests, "find_spec", lambda name: None)
    assert backtests.measure(report) == []
    monkeypatch.setattr(training.torch.cuda, "is_available", lambda: False)
    assert training.on_gpu(report) == []
    assert set(report.left_out) == {event_replay.NAME, training.GPU_NAME, *backtests.NAMES}
    assert all("make bench" in report.left_out[name] for name in (event_replay.NAME, *backtests.NAMES))


def test_the_rows_of_layer_2_and_of_training_run_on_small_sizes() -> None:
    report = Report(quick=True)
    for part, name in (
        (layer2.hawkes, "Hawkes fit"),
        (layer2.merton, "Merton fit"),
        (layer2.live, "live update of layer 2"),
    ):
        (row,) = part(report)
        assert row.name == name
    job = training.Job.of(features.example(6_000), 24)
    assert job.stock("cpu", 64, 0, 2) == 128
    assert training.flops_of_a_window(job) > 1e5


def test_the_retraining_is_what_is_promised() -> None:
    weekly = retraining.WEEKLY
    assert (weekly.candles, weekly.forecaster_trials, weekly.forecaster.networks) == (100_000, 20, 3)
    assert len(retraining.history(500)) == 500


def test_an_unknown_group_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        command.main(["nonsense"])
    assert stop.value.code == 2
    assert "decision" in capsys.readouterr().err
