"""Group research: the dataset and the sweeps over it; the work is ``hydra_core.research``.

What passes from asset to asset is a version in the metadata; the data themselves lie in the home. Each stage keeps its
result under what it depends on, so a run that was stopped goes on where it stopped.
"""

from typing import TYPE_CHECKING, Any, Final

import dagster as dg
from pydantic import Field

from hydra_core.alpha.models import FORECASTER
from hydra_core.domain.intervals import iso
from hydra_core.domain.market import INPUTS
from hydra_core.domain.pairs import Pair, parse_pair
from hydra_dagster import keys, reporting, versions
from hydra_dagster.resources import Workshop

if TYPE_CHECKING:
    from hydra_core.research.bench import Bench, Candidate
    from hydra_core.research.dataset import Dataset
    from hydra_core.research.sweeps import StudyResult


Context = dg.AssetExecutionContext | dg.AssetCheckExecutionContext


class DatasetConfig(dg.Config):
    """Which part of the lake to learn from."""

    as_of_ms: int = Field(
        default=0, ge=0, description="nothing later, epoch ms of market time; 0: all that was collected"
    )
    pairs: list[str] = Field(default=[], description="empty: the settings' pairs")
    candles: int = Field(
        default=0, ge=0, description="newest 5m candles a pair, at most; 0: the setting training.candles"
    )


def at_hand(context: Context, workshop: Workshop) -> "tuple[Bench, Dataset]":
    """The newest dataset, and the bench with the pairs it holds."""
    from hydra_core.research.pipeline import dataset_of

    made = versions.latest(context.instance, keys.DATASET).result
    pairs = [Pair(pair) for pair in made["pairs"]]
    bench = workshop.bench(reporting.progress_to(context.log), pairs)
    data = dataset_of(bench, str(made["version"]))
    return bench.at_horizon(data.horizon), data


@dg.asset(
    key=keys.DATASET,
    group_name=keys.RESEARCH,
    deps=[keys.market(table) for table in INPUTS],
    code_version=versions.CODE,
    kinds={"numpy"},
    description="Features, labels and walk-forward folds of all pairs, filed under the hash of what they were made from.",
)
def dataset(
    context: dg.AssetExecutionContext, config: DatasetConfig, workshop: dg.ResourceParam[Workshop]
) -> dg.MaterializeResult[None]:
    """Prepare the dataset of a history that ends at market time."""
    from hydra_core.research.featuretable import statistics_of
    from hydra_core.research.pipeline import newest_close, prepare

    with reporting.plain_failures():
        pairs = [parse_pair(pair) for pair in config.pairs]
        bench = workshop.bench(reporting.progress_to(context.log), pairs, config.candles)
        made = prepare(bench, config.as_of_ms or newest_close(bench))
        told, figures = made.summary(), statistics_of(made)
    metadata: dict[str, Any] = {
        reporting.ROWS: told["rows"] * len(told["pairs"]),
        "from": iso(told["start_ms"]),
        "until": iso(told["end_ms"]),
        "lock-box from": iso(told["lockbox_start_ms"]),
        "pairs": ", ".join(told["pairs"]),
        "inputs": ", ".join(told["inputs"]),
        "features": len(told["features"]),
        reporting.SCHEMA: _schema(told["features"]),
        "statistics": reporting.table(figures),
        "folds": reporting.table([{"fold": number, **fold} for number, fold in enumerate(told["folds"], 1)]),
        **({"horizons": reporting.table(told["horizons"])} if told.get("horizons") else {}),
        versions.RESULT: reporting.as_json(told),
    }
    return dg.MaterializeResult(data_version=dg.DataVersion(made.version), metadata=metadata)


def _schema(names: "list[str]") -> dg.MetadataValue:
    """The feature columns of every row, which is one bar of one pair, with what each is made from."""
    from hydra_core.research.featuretable import described

    columns = [dg.TableColumn(name, "float32", description=told) for name, told in described(names).items()]
    return dg.MetadataValue.table_schema(dg.TableSchema(columns=columns))


@dg.asset(
    key=keys.FORECASTER_SWEEP,
    group_name=keys.RESEARCH,
    deps=[keys.DATASET],
    code_version=versions.CODE,
    kinds={"optuna", "torch"},
    description="A few configurations of the forecaster, compared on the first fold; every trial is counted for ever.",
)
def forecaster_sweep(
    context: dg.AssetExecutionContext, workshop: dg.ResourceParam[Workshop]
) -> dg.MaterializeResult[None]:
    """Run or resume the forecaster's study."""
    from hydra_core.research.pipeline import sweep_forecaster

    with reporting.plain_failures():
        bench, data = at_hand(context, workshop)
        return _told(bench, sweep_forecaster(bench, data))


@dg.asset(
    key=keys.POLICY_SWEEP,
    group_name=keys.RESEARCH,
    deps=[keys.DATASET, keys.candidate(FORECASTER)],
    code_version=versions.CODE,
    kinds={"optuna", "torch"},
    description="A few configurations of the policy, trained on the forecaster candidate's out-of-sample forecasts.",
)
def policy_sweep(context: dg.AssetExecutionContext, workshop: dg.ResourceParam[Workshop]) -> dg.MaterializeResult[None]:
    """Run or resume the policy's study."""
    from hydra_core.research.pipeline import sweep_policy

    with reporting.plain_failures():
        bench, data = at_hand(context, workshop)
        return _told(bench, sweep_policy(bench, data, candidate_of(context, FORECASTER)))


def study_of(context: dg.AssetExecutionContext, key: dg.AssetKey) -> "StudyResult":
    """The newest result of a sweep."""
    from hydra_core.research.sweeps import StudyResult

    return StudyResult.from_json(dict(versions.latest(context.instance, key).result))


def candidate_of(context: Context, kind: str) -> "Candidate":
    """The newest candidate of a kind."""
    from hydra_core.research.bench import Candidate

    return Candidate.from_json(versions.latest(context.instance, keys.candidate(kind)).result)


def _told(bench: "Bench", study: "StudyResult") -> dg.MaterializeResult[None]:
    """A study with its trials as a table."""
    from hydra_core.research.trials import trials_of

    rows = trials_of(bench.home.studies, study.study)
    metadata: dict[str, Any] = {
        "trials": study.trials,
        "best value": reporting.number(study.value),
        "best": reporting.as_json(study.best),
        "study": study.study,
        "all trials": reporting.table([{name: str(value) for name, value in row.items()} for row in rows]),
        versions.RESULT: reporting.as_json(study.to_json()),
    }
    return dg.MaterializeResult(data_version=dg.DataVersion(f"{study.study}-{study.trials}"), metadata=metadata)


ASSETS: Final = [dataset, forecaster_sweep, policy_sweep]
