"""A paper session recorded by the real window, desk, guard and paper broker on a synthetic market, and models that trade."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from hydra_core.alpha import crowd
from hydra_core.alpha.crowd.logistic import Logistic
from hydra_core.alpha.crowd.model import CrowdArtifact
from hydra_core.alpha.forecaster import artifact
from hydra_core.alpha.forecaster.calibration import LEVELS, Calibration
from hydra_core.alpha.models import CROWD, FORECASTER
from hydra_core.alpha.registry import Card, ModelRegistry, write_card
from hydra_core.domain.intervals import HOUR_MS
from hydra_core.domain.pairs import DEFAULT_PAIRS, Pair
from hydra_core.home import Home
from hydra_core.replay.stage import Stage
from hydra_core.settings import Settings
from hydra_core.simulation import SyntheticMarket

FEATURE = "return_12"


def models(home: Home, folder: Path, strength: float = -0.8) -> dict[str, str]:
    """Pins of a forecaster that expects moves to be undone, and of a crowd that fears nothing."""
    registry = ModelRegistry(home.models)
    seat = folder / FORECASTER
    seat.mkdir()
    weights = helper.make_tensor("w", TensorProto.FLOAT, [1], [strength])
    graph = helper.make_graph(
        [
            helper.make_node("Squeeze", ["windows", "axes"], ["newest"]),
            helper.make_node("Mul", ["newest", "w"], ["value"]),
        ],
        "reversal",
        [helper.make_tensor_value_info("windows", TensorProto.FLOAT, ["n", 1, 1])],
        [helper.make_tensor_value_info("value", TensorProto.FLOAT, ["n"])],
        [weights, helper.make_tensor("axes", TensorProto.INT64, [2], [1, 2])],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    made.ir_version = 9
    onnx.save(made, seat / artifact.MODEL)
    residuals = np.clip(3 * (LEVELS - 0.45), -2, 2)
    said = {
        "features": [FEATURE],
        "window": {"steps": 1, "stride": 1},
        "horizon_bars": 48,
        "calibration": Calibration(0.9, 9.0, residuals, 0.5, 0.0, 0.0014).to_dict(),
    }
    (seat / artifact.SETTINGS).write_text(json.dumps(said))
    write_card(seat, Card(kind=FORECASTER, inputs=("candles",), lookback=300, horizon_bars=48))
    fear = Logistic((crowd.model.LEVEL_COLUMN,), (0.0,), (1.0,), (0.0,), -3.0)
    CrowdArtifact("", 48, fear, fear, {"BTCUSDT": 0.0}).save(folder / CROWD)
    write_card(folder / CROWD, Card(kind=CROWD, inputs=("candles",), lookback=300, horizon_bars=48))
    return {kind: registry.save(kind, folder / kind) for kind in (FORECASTER, CROWD)}


def balanced(stage: Stage) -> None:
    """The accounting identity, after whatever this tick did: cash and open profit are what flowed, to 1e-9."""
    booked = stage.ledger.account(stage.account)
    flows = booked.initial_balance + booked.realised - booked.fees + booked.funding + booked.other
    assert abs(booked.cash - flows) <= Decimal("1e-9"), (booked.cash, flows)
    marks = stage.view.mark_prices()
    portfolio = stage.ledger.portfolio(stage.account, marks, stage.clock.market_ms())
    open_profit = sum(
        float(held.quantity) * (marks[pair] - float(held.entry_price)) for pair, held in portfolio.positions.items()
    )
    assert abs(portfolio.equity - float(booked.cash) - open_profit) <= 1e-9 * max(1.0, abs(portfolio.equity))


@contextmanager
def recorded(
    folder: Path, hours: float, *, pairs: tuple[Pair, ...] = DEFAULT_PAIRS, quiet_ms: int = 5_000, seed: int = 5
) -> Iterator[Stage]:
    """A session of so many venue hours that begins ten minutes before a midnight, and the stage it was recorded on."""
    market = SyntheticMarket(seed, 0.3, days=10)
    home = Home(folder, "synthetic-5-0.3")
    start = market.start_ms - 600_000
    with Stage(
        market, home, Settings(data_root=folder, pairs=pairs), start, Decimal(10_000), quiet_ms=quiet_ms
    ) as stage:
        stage.on_tick = lambda _mode: balanced(stage)
        models_folder = folder / "models"
        models_folder.mkdir()
        stage.run(start + int(hours * HOUR_MS), models(home, models_folder))
        yield stage
