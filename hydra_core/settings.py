"""Every default in one place. Read at the edges only (cli, trader, hydra_dagster); layers are handed small frozen parts.

Environment variables start with ``HYDRA_`` (nested parts with two underscores: ``HYDRA_RISK__KELLY_FRACTION``); a ``.env``
file in the working directory is read too. Secrets live in the environment only and are never part of a settings hash.
"""

from __future__ import annotations

import hashlib
import json
from decimal import Decimal
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from hydra_core.domain.pairs import DEFAULT_PAIRS, Pair


class Part(BaseModel):
    """Base of the frozen parts."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DecisionSettings(Part):
    """The decision cycle."""

    interval_s: int = Field(default=30, ge=1, description="seconds of market time between two grid points")
    confidence_threshold: float = Field(default=0.6, ge=0, le=1)
    approvals_needed: int = Field(default=3, ge=1, le=4)
    hazard_limit: float = Field(
        default=0.35, ge=0, le=1, description="crowd seat: probability of a forced exit per 4 h"
    )
    max_champion_age_days: float = Field(
        default=28.0, gt=0, description="market days in its seat after which a model is not loaded any more"
    )
    plan_ttl_s: int = Field(default=300, ge=1)
    schedule: Literal["twap", "vwap", "almgren-chriss"] = Field(
        default="twap", description="how a change of position is spread over its slices"
    )
    twap_slices: int = Field(default=4, ge=1, description="slices of a change, whatever the schedule")
    twap_duration_s: int = Field(default=120, ge=0, description="span of the slices, cut to the plan's life")
    max_participation: float = Field(
        default=0.0, ge=0, le=1, description="largest share of the traded volume; 0: no limit; urgent exits have none"
    )
    schedule_risk_aversion: float = Field(
        default=1.0, ge=0, description="almgren-chriss: in multiples of what kelly_fraction implies; 0 is twap"
    )
    resize_band: float = Field(default=0.25, ge=0, description="relative change of a position that is worth trading")


class RiskSettings(Part):
    """The risk brain; money in USDT, shares as fractions of equity."""

    kelly_fraction: float = Field(default=0.25, gt=0, le=1)
    edge_observations: float = Field(
        default=200.0,
        ge=0,
        description="independent trades that an edge is known from: Kelly is cut where it is small against its error; 0: not",
    )
    max_expected_shortfall: float = Field(
        default=0.05, gt=0, le=1, description="of the book over a signal's horizon at 97.5 %, share of equity"
    )
    risk_per_trade: float = Field(default=0.01, gt=0, le=0.2)
    pair_multipliers: dict[str, float] = Field(
        default={
            "BTCUSDT": 1.0, "ETHUSDT": 1.0, "SOLUSDT": 0.8, "BNBUSDT": 0.8,
            "DOGEUSDT": 0.5, "XRPUSDT": 0.8, "ADAUSDT": 0.8, "LTCUSDT": 0.8,
        }
    )  # fmt: skip
    correlation_penalty: float = Field(default=0.7, ge=0, le=1)
    max_position_notional: float = Field(default=10_000.0, gt=0)
    max_total_notional: float = Field(default=50_000.0, gt=0)
    max_positions: int = Field(default=5, ge=1)
    max_leverage: float = Field(default=3.0, gt=0)
    stop_sigmas: float = Field(default=2.0, gt=0, description="stop distance in standard deviations of the horizon")
    day_loss_limit: float = Field(default=0.05, gt=0, le=1)
    drawdown_limit: float = Field(default=0.10, gt=0, le=1)
    position_loss_limit: float = Field(default=0.03, gt=0, le=1)
    correlation_spike: float = Field(default=0.85, gt=0, le=1)
    variance_ratio_spike: float = Field(default=4.0, gt=1)
    extreme_regime_probability: float = Field(default=0.9, gt=0, le=1)
    max_quote_age_s: float = Field(default=15.0, gt=0, description="wall seconds")
    max_heartbeat_age_s: float = Field(default=10.0, gt=0, description="wall seconds")


class FeeTier(Part):
    """Fees of a step of an exchange's schedule, bp of notional."""

    volume: float = Field(gt=0, description="USDT traded in the last 30 UTC days from which the step holds")
    taker_bp: float
    maker_bp: float


class CostSettings(Part):
    """Costs of trading, in basis points of notional (a side) unless said."""

    taker_fee_bp: float = 5.0
    maker_fee_bp: float = 2.0
    fee_tiers: tuple[FeeTier, ...] = Field(
        default=(),
        description="steps that backtests pay by, ascending; below the first, and in what decisions expect, the fees above",
    )
    half_spread_bp: float = 1.0
    slippage_bp: float = 1.0
    impact_coefficient: float = Field(default=1.0, description="Y of the square-root law I = Y sigma_D sqrt(Q / V_D)")
    latency_ms: int = Field(default=250, ge=0, description="market time from decision to fill on paper")

    @field_validator("fee_tiers")
    @classmethod
    def _ascending(cls, value: tuple[FeeTier, ...]) -> tuple[FeeTier, ...]:
        if any(later.volume <= tier.volume for tier, later in pairwise(value)):
            raise ValueError("the volumes of fee tiers ascend, each named once")
        return value

    @property
    def side_bp(self) -> float:
        """Cost of one taker side before impact, bp."""
        return self.taker_fee_bp + self.half_spread_bp + self.slippage_bp


class ForecasterSettings(Part):
    """What kind of forecaster is trained."""

    family: Literal["linear", "polynomial", "trees", "forest", "transformer", "stacked"] = "transformer"
    networks: int = Field(default=1, ge=1, le=10, description="of a deep ensemble; where they disagree nothing is said")
    cross_layers: int = Field(default=0, ge=0, le=4, description="layers of attention between the pairs of a row")
    batch_rows: int = Field(default=64, ge=1, description="rows of all pairs in one step; a GPU wants 1024 or more")
    more_horizons: tuple[int, ...] = Field(
        default=(),
        description="5m bars ahead that further heads learn beside the horizon: return, direction, quantiles",
    )
    warm_start: bool = Field(default=False, description="each fold's network starts from the one before")
    refit: Literal["fresh", "warm"] = Field(
        default="fresh",
        description="warm: networks start from the standing champion's weights, at a fifth of the learning rate",
    )
    device: Literal["cpu", "auto"] = Field(default="cpu", description="auto: a GPU where there is one")
    label: Literal["return", "barrier", "quintile"] = Field(
        default="return",
        description="what is learnt of the scaled return: itself, which barrier is touched first, its fifth of a normal",
    )
    barrier_sigmas: float = Field(
        default=1.5, ge=0.5, le=4.0, description="distance of the barriers in standard deviations of the horizon"
    )
    weights: Literal["equal", "uniqueness"] = Field(
        default="equal", description="uniqueness: a label counts the less, the more others run over the same bars"
    )
    horizons: tuple[int, ...] = Field(
        default=(),
        description="5m bars to choose the horizon from by what is left after costs; empty: training.horizon_bars",
    )

    @field_validator("horizons")
    @classmethod
    def _each_ahead(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if any(horizon < 1 for horizon in value) or len(set(value)) != len(value):
            raise ValueError("every horizon is a number of bars above 0, named once")
        return value


class TrainingSettings(Part):
    """Training and validation."""

    candles: int = Field(default=100_000, ge=1_000, description="5m candles a pair, at most")
    horizon_bars: int = Field(default=48, ge=1, description="5m bars ahead (48 is 4 h)")
    stride_bars: int = Field(default=6, ge=1, description="5m bars between two training rows")
    folds: int = Field(default=3, ge=2)
    lockbox_share: float = Field(default=0.2, gt=0, lt=0.9)
    forecaster_trials: int = Field(default=3, ge=1)
    policy_trials: int = Field(default=2, ge=1)
    policy_steps: int = Field(default=100_000, ge=1_000)
    epochs: int = Field(default=3, ge=1)
    seed: int = 7
    threads: int = Field(default=1, ge=1, description="torch threads; networks this small gain nothing from more")
    features: tuple[str, ...] = Field(
        default=("usual",),
        min_length=1,
        description="what forecasters read: features, families of them, `usual`, `all` (`alpha.features.selection`)",
    )
    forecaster: ForecasterSettings = ForecasterSettings()


class AnalystSettings(Part):
    """The analyst's language model; without GROQ_API_KEY the rules analyst sits in the seat."""

    model: str = "openai/gpt-oss-120b"
    fallback_model: str = "openai/gpt-oss-20b"
    base_url: str | None = None
    timeout_s: float = Field(default=2.0, gt=0)
    ttl_s: int = Field(default=900, ge=1, description="market seconds an analysis stays valid")
    daily_calls: int = Field(default=3_000, ge=0)


class PlatformSettings(Part):
    """Ports and processes; everything binds to loopback."""

    host: str = "127.0.0.1"
    venue_port: int = 8899
    webserver_port: int = 3000
    research_port: int = 4266
    live_port: int = 4267
    window_s: int = Field(default=900, ge=30, description="wall seconds that one window run lasts")
    lease_ttl_s: int = Field(default=20, ge=2, description="wall seconds after which an unrenewed lease is free")
    live_sensor: bool = True


class LiveSettings(Part):
    """Trading at an exchange; times are wall seconds unless said."""

    enabled: bool = Field(default=False, description="without it no order goes to an exchange, whatever else is set")
    timeout_s: float = Field(
        default=10.0, gt=0, description="a request without an answer by then has an unknown outcome"
    )
    reconcile_s: float = Field(default=30.0, gt=0, description="between two comparisons with the exchange")
    unknown_after_s: float = Field(default=60.0, gt=0, description="positions not read for so long count as unknown")
    probe_window_s: float = Field(
        default=10.0, gt=0, description="an order may stay invisible for so long after it was sent"
    )
    foreign_orders: Literal["adopt", "cancel", "halt"] = Field(
        default="adopt", description="what to do about resting orders that are not ours"
    )
    foreign_limit: int = Field(default=3, ge=1, description="so many unknown orders mean that another program trades")
    stop_grace_s: float = Field(
        default=10.0, gt=0, description="a position without a resting stop for so long is closed"
    )
    stop_escalate_ms: int = Field(
        default=2_000, ge=0, description="market time that a resting stop is given once the mark is beyond it"
    )
    default_stop: float = Field(
        default=0.05,
        gt=0,
        lt=1,
        description="stop of a position that came without one, as a fraction of its entry price",
    )
    close_before_delivery_h: float = Field(
        default=24.0, ge=0, description="market hours before its delivery at which a pair is closed and left alone"
    )
    dead_man_s: float = Field(
        default=60.0, ge=0, description="the exchange cancels resting orders after so long a silence"
    )


class ExternalSettings(Part):
    """What is read from elsewhere than the exchange; all optional, absent without a key or a list."""

    history_days: int = Field(default=30, ge=1, le=3650, description="how far back a first look goes")
    glassnode_url: str = Field(default="", description="another address than Glassnode's own")
    glassnode_metrics: tuple[str, ...] = (
        "addresses/active_count",
        "transactions/transfers_volume_exchanges_net",
        "indicators/sopr",
    )
    glassnode_resolution: Literal["10m", "1h", "24h", "1w"] = "24h"
    glassnode_per_minute: int = Field(default=600, ge=0, description="calls that the plan allows; 0: not counted")
    glassnode_per_day: int = Field(default=50, ge=0, description="calls that the plan allows; 0: not counted")
    coinglass_url: str = Field(default="", description="another address than Coinglass's own")
    coinglass_series: tuple[str, ...] = ("open_interest", "funding", "liquidations")
    coinglass_interval: Literal["30m", "1h", "4h", "1d"] = "4h"
    coinglass_per_minute: int = Field(default=30, ge=0, description="calls that the plan allows; 0: not counted")
    news_feeds: tuple[str, ...] = Field(default=(), description="addresses of RSS and Atom feeds")
    exchanges: dict[str, str] = Field(
        default={},
        description="exchanges to compare with: a name -> an exchange, or exchange@http://... of a local server",
    )


class Settings(BaseSettings):
    """All settings; see the parts."""

    model_config = SettingsConfigDict(
        env_prefix="HYDRA_", env_nested_delimiter="__", env_file=".env", extra="ignore", frozen=True
    )

    data_root: Path = Path("data_lake")
    market: str = Field(default="", description="market home in use; empty: the one used last")
    exchange: Literal["binanceusdm", "bybit", "okx", "bitget", "hyperliquid", "weex"] = Field(
        default="binanceusdm", description="whose market is followed and, with an account there, traded"
    )
    pairs: tuple[Pair, ...] = DEFAULT_PAIRS
    database_url: str = Field(default="", description="ledger; empty: SQLite in the market home")
    lake_url: str = Field(
        default="", description="object store of the lake, e.g. s3://bucket/hydra; empty: the market home's folder"
    )
    venue_url: str = Field(default="", description="address of a local venue; empty: the exchange itself")
    paper_balance: Decimal = Field(
        default=Decimal(10_000), gt=0, description="USDT that a first paper account opens with"
    )
    log_level: str = "INFO"
    decision: DecisionSettings = DecisionSettings()
    risk: RiskSettings = RiskSettings()
    costs: CostSettings = CostSettings()
    training: TrainingSettings = TrainingSettings()
    analyst: AnalystSettings = AnalystSettings()
    platform: PlatformSettings = PlatformSettings()
    external: ExternalSettings = ExternalSettings()
    live: LiveSettings = LiveSettings()
    exchange_key: SecretStr | None = Field(default=None, validation_alias="HYDRA_EXCHANGE_KEY", repr=False)
    exchange_secret: SecretStr | None = Field(default=None, validation_alias="HYDRA_EXCHANGE_SECRET", repr=False)
    exchange_passphrase: SecretStr | None = Field(
        default=None, validation_alias="HYDRA_EXCHANGE_PASSPHRASE", repr=False
    )
    glassnode_api_key: SecretStr | None = Field(default=None, validation_alias="HYDRA_GLASSNODE_API_KEY", repr=False)
    coinglass_api_key: SecretStr | None = Field(default=None, validation_alias="HYDRA_COINGLASS_API_KEY", repr=False)
    studies_url: SecretStr | None = Field(default=None, validation_alias="HYDRA_STUDIES_URL", repr=False)
    groq_api_key: SecretStr | None = Field(default=None, validation_alias="GROQ_API_KEY", repr=False)

    @cached_property
    def decision_hash(self) -> str:
        """SHA-256 of every setting that can change a decision (pairs, decision, risk, costs, horizon)."""
        parts = {
            "pairs": self.pairs,
            "decision": self.decision.model_dump(),
            "risk": self.risk.model_dump(),
            "costs": self.costs.model_dump(),
            "horizon_bars": self.training.horizon_bars,
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
