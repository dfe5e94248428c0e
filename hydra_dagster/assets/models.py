"""Group models: one candidate of each kind, sealed in the registry; whether it may hold a seat is decided later."""

from typing import TYPE_CHECKING, Any, Final

import dagster as dg

from hydra_core.alpha.models import CROWD, FORECASTER, POLICY
from hydra_dagster import keys, reporting, versions
from hydra_dagster.assets.research import at_hand, candidate_of, study_of
from hydra_dagster.resources import Workshop

if TYPE_CHECKING:
    from hydra_core.alpha.registry import Card
    from hydra_core.research.bench import Bench, Candidate


@dg.asset(
    key=keys.candidate(FORECASTER),
    group_name=keys.MODELS,
    deps=[keys.DATASET, keys.FORECASTER_SWEEP],
    code_version=versions.CODE,
    kinds={"torch", "onnx"},
    description="The sweep's best forecaster, walked forward, calibrated, trained on all of development.",
)
def forecaster_candidate(
    context: dg.AssetExecutionContext, workshop: dg.ResourceParam[Workshop]
) -> dg.MaterializeResult[None]:
    """Train the forecaster."""
    from hydra_core.research.pipeline import train_forecaster_candidate

    with reporting.plain_failures():
        bench, data = at_hand(context, workshop)
        study = study_of(context, keys.FORECASTER_SWEEP)
        return _told(bench, train_forecaster_candidate(bench, data, study))


@dg.asset(
    key=keys.candidate(CROWD),
    group_name=keys.MODELS,
    deps=[keys.DATASET],
    code_version=versions.CODE,
    kinds={"scikitlearn"},
    description="Hazard of forced exits by side; absent where the market lacks the inputs it declares.",
)
def crowd_candidate(
    context: dg.AssetExecutionContext, workshop: dg.ResourceParam[Workshop]
) -> dg.MaterializeResult[None]:
    """Train the crowd model."""
    from hydra_core.research.pipeline import train_crowd_candidate

    with reporting.plain_failures():
        bench, data = at_hand(context, workshop)
        return _told(bench, train_crowd_candidate(bench, data))


@dg.asset(
    key=keys.candidate(POLICY),
    group_name=keys.MODELS,
    deps=[keys.DATASET, keys.candidate(FORECASTER), keys.POLICY_SWEEP],
    code_version=versions.CODE,
    kinds={"torch", "onnx"},
    description="The sweep's best policy on the forecaster candidate's forecasts.",
)
def policy_candidate(
    context: dg.AssetExecutionContext, workshop: dg.ResourceParam[Workshop]
) -> dg.MaterializeResult[None]:
    """Train the policy."""
    from hydra_core.research.pipeline import train_policy_candidate

    with reporting.plain_failures():
        bench, data = at_hand(context, workshop)
        forecaster = candidate_of(context, FORECASTER)
        study = study_of(context, keys.POLICY_SWEEP)
        return _told(bench, train_policy_candidate(bench, data, forecaster, study))


def _told(bench: "Bench", made: "Candidate") -> dg.MaterializeResult[None]:
    """A candidate with its figures and its card."""
    result = {versions.RESULT: reporting.as_json(made.to_json())}
    if not made.version:
        return dg.MaterializeResult(data_version=dg.DataVersion("absent"), metadata={"absent": made.absent, **result})
    card = bench.registry.card(made.kind, made.version)
    metadata: dict[str, Any] = {
        "version": made.version,
        "folder": dg.MetadataValue.path(bench.registry.path(made.kind, made.version)),
        "notes": dg.MetadataValue.md("\n".join(f"- {note}" for note in made.notes) or "none"),
        "model card": dg.MetadataValue.md(_in_words(card)),
        "card": reporting.as_json(card.model_dump(mode="json")),
        **{name: reporting.number(value) for name, value in made.metrics.items()},
        **result,
    }
    return dg.MaterializeResult(data_version=dg.DataVersion(made.version), metadata=metadata)


def _in_words(card: "Card") -> str:
    """The card as a page that a person reads."""
    from hydra_core.research.modelreport import card_facts

    table = "\n".join(f"| {name} | {value} |" for name, value in card_facts(card).items())
    notes = "\n".join(f"- {note}" for note in card.notes)
    return f"| | |\n| --- | --- |\n{table}\n\n{notes}"


ASSETS: Final = [forecaster_candidate, crowd_candidate, policy_candidate]
