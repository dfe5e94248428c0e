"""Group validation: the leak suite on each candidate, what each candidate is worth, and its gates as a check on exactly
that validation.

Failing a gate is a result, not a failed run: the check is not blocking, and a seat is refused where seats are given
(``champions``). A leak is a fault: its checks are blocking, and what they stop is not judged in that run; what they say is kept
with the model, so no later run can judge or seat it past them.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import dagster as dg

from hydra_core.alpha.models import CROWD, FORECASTER, KINDS, POLICY
from hydra_core.research.audit.lines import BY_KIND, CHECKS, remedy
from hydra_dagster import keys, reporting, versions
from hydra_dagster.assets.research import at_hand, candidate_of, study_of
from hydra_dagster.resources import Workshop

if TYPE_CHECKING:
    from hydra_core.research.audit.lines import AuditLine
    from hydra_core.research.bench import Validation


def _gates(key: dg.AssetKey) -> list[dg.AssetCheckSpec]:
    return [dg.AssetCheckSpec(keys.GATES, asset=key, description="Every gate of this kind of model passed.")]


NEEDS: Final = {
    FORECASTER: (keys.FORECASTER_SWEEP,),
    CROWD: (),
    POLICY: (keys.candidate(FORECASTER),),
}
"""Kind -> what judging it needs beside the dataset and the candidate."""


def _make(kind: str) -> dg.AssetsDefinition:
    @dg.asset(
        key=keys.validation(kind),
        group_name=keys.VALIDATION,
        deps=[keys.DATASET, keys.candidate(kind), *NEEDS[kind]],
        check_specs=_gates(keys.validation(kind)),
        code_version=versions.CODE,
        kinds={"python"},
        description=f"The {kind} candidate on data it has not seen, gate by gate.",
    )
    def validation(context: dg.AssetExecutionContext, workshop: dg.ResourceParam[Workshop]) -> dg.MaterializeResult:  # type: ignore[type-arg]
        from hydra_core.research.pipeline import validate_candidate

        with reporting.plain_failures():
            bench, data = at_hand(context, workshop)
            study = study_of(context, keys.FORECASTER_SWEEP) if kind == FORECASTER else None
            forecaster = candidate_of(context, FORECASTER) if kind == POLICY else None
            candidate = candidate_of(context, kind)
            return _told(validate_candidate(bench, data, candidate, study=study, forecaster=forecaster))

    return validation


@dg.asset(
    key=keys.COMMITTEE,
    group_name=keys.VALIDATION,
    deps=[keys.DATASET, keys.FORECASTER_SWEEP, keys.POLICY_SWEEP, *(keys.validation(kind) for kind in KINDS)],
    check_specs=_gates(keys.COMMITTEE),
    code_version=versions.CODE,
    kinds={"python"},
    description="The candidates that passed, deciding together through all layers.",
)
def committee(context: dg.AssetExecutionContext, workshop: dg.ResourceParam[Workshop]) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Judge the seats together."""
    from hydra_core.research.bench import Validation
    from hydra_core.research.pipeline import validate_committee

    with reporting.plain_failures():
        bench, data = at_hand(context, workshop)
        seen = {
            kind: Validation.from_json(versions.latest(context.instance, keys.validation(kind)).result)
            for kind in KINDS
        }
        trials = sum(study_of(context, key).trials for key in (keys.FORECASTER_SWEEP, keys.POLICY_SWEEP))
        return _told(validate_committee(bench, data, seen, trials))


def _told(found: "Validation") -> dg.MaterializeResult[Any]:
    """A validation with its gates as a table and a check, its figures and its pictures."""
    failed = [gate for gate in found.gates if not gate.passed]
    said = "; ".join(f"{gate.name}: {gate.note}" for gate in failed[:4])
    description = f"{len(failed)} of {len(found.gates)} gates failed: {said}" if failed else "every gate passed"
    gates = reporting.table([gate.to_json() for gate in found.gates])
    kept = {name: value for name, value in found.to_json().items() if name not in ("curves", "calibration", "tables")}
    metadata: dict[str, Any] = {
        "passed": found.passed,
        "gates passed": len(found.gates) - len(failed),
        "gates": gates,
        # The verdicts stand there as a table: their picture would take its place.
        **{
            name: reporting.picture(png, name.replace("_", " "))
            for name, png in found.pictures.items()
            if name != keys.GATES
        },
        **{name: reporting.table(rows) for name, rows in found.tables.items()},
        **{name: reporting.number(value) for name, value in (found.metrics | found.backtest).items()},
        versions.RESULT: reporting.as_json(kept),
    }
    check = dg.AssetCheckResult(
        check_name=keys.GATES,
        passed=found.passed,
        severity=dg.AssetCheckSeverity.WARN,
        description=description,
        metadata={"version": found.version or "none", "gates": gates},
    )
    return dg.MaterializeResult(
        data_version=dg.DataVersion(f"{found.version or 'absent'}-{found.dataset}"),
        metadata=metadata,
        check_results=[check],
    )


def leak_check(check: str) -> str:
    """Name of the asset check that holds one check of the leak suite, e.g. ``leaks_L1_prefix_invariance``."""
    return f"{keys.LEAKS}_{check}_{CHECKS[check].replace(' ', '_')}"


def _make_leak_checks(kind: str) -> dg.AssetChecksDefinition:
    @dg.multi_asset_check(
        name=f"{kind}_leak_suite",
        specs=[
            dg.AssetCheckSpec(
                leak_check(check),
                asset=keys.candidate(kind),
                blocking=True,
                description=f"{check}, {CHECKS[check]}: nothing of the {kind} candidate knows the future.",
            )
            for check in BY_KIND[kind]
        ],
    )
    def leak_suite(
        context: dg.AssetCheckExecutionContext, workshop: dg.ResourceParam[Workshop]
    ) -> Iterator[dg.AssetCheckResult]:
        from hydra_core.research.pipeline import audit_candidate

        with reporting.plain_failures():
            bench, data = at_hand(context, workshop)
            candidate = candidate_of(context, kind)
            lines = audit_candidate(bench, data, candidate)
        for check in BY_KIND[kind]:
            yield _leak_result(kind, check, [line for line in lines if line.check == check], candidate.version)

    return leak_suite


def _leak_result(kind: str, check: str, lines: "list[AuditLine]", version: str) -> dg.AssetCheckResult:
    found = [line for line in lines if not line.clean]
    if found:
        said = "; ".join(str(line) for line in found[:4])
    elif version and not lines:
        said = f"{check} was not run on {version[:12]}, and what was not run is not passed. {remedy(kind)}"
    else:
        said = f"{len(lines)} clean" if lines else "there is no candidate"
    return dg.AssetCheckResult(
        asset_key=keys.candidate(kind),
        check_name=leak_check(check),
        passed=not found and bool(lines or not version),
        severity=dg.AssetCheckSeverity.ERROR,
        description=said,
        metadata={"version": version or "none", "lines": reporting.table([line.to_json() for line in lines])},
    )


LEAK_CHECKS: Final = [_make_leak_checks(kind) for kind in KINDS]
ASSETS: Final = [*(_make(kind) for kind in KINDS), committee]
