"""What of a language model's answer is believed: only what the facts it was shown can carry.

Deterministic and after parsing. A violation refuses the whole answer: a model that invents one number is not asked about
the others. Limits that strict mode cannot express are clamped here.
"""

from __future__ import annotations

from typing import Final

from hydra_core.alpha.analyst.facts import RESCALED, AnalystFacts
from hydra_core.alpha.analyst.schema import RISK_FLAGS, AnswerRefused, Draft, Zone
from hydra_core.domain.trading import Analysis

QUOTE_TOLERANCE: Final = 1e-3
RANGE_MARGIN: Final = 3.0
ZONE_WIDTH: Final = 2.0
CONTRADICTION_CROWDING: Final = 80


def grounded(draft: Draft, facts: AnalystFacts, model: str, *, quotes: bool = True) -> Analysis:
    """The analysis that an answer amounts to.

    Parameters
    ----------
    draft : Draft
    facts : AnalystFacts that the model was shown
    model : str, its name: the analysis' source
    quotes : bool, whether quoted values are compared; not for a remembered answer, whose state has drifted within a step

    Raises
    ------
    AnswerRefused : the model abstains, cites what is not there, misquotes a value, or draws an impossible zone
    """
    if draft.abstain:
        raise AnswerRefused("the model abstains")
    values = {item.identifier: item.value for item in facts.evidence}
    cited = [quoted.id for quoted in draft.evidence] + [
        i for zone in draft.forced_exit_zones for i in zone.evidence_ids
    ]
    unknown = sorted(set(cited) - set(values))
    if unknown:
        raise AnswerRefused(f"the answer cites {', '.join(unknown[:3])}, which is no evidence")
    if not draft.evidence:
        raise AnswerRefused("the answer cites no evidence")
    for quoted in draft.evidence if quotes else ():
        if abs(quoted.value - values[quoted.id]) > QUOTE_TOLERANCE * max(abs(values[quoted.id]), 1e-6):
            raise AnswerRefused(f"the answer reads {quoted.value} in {quoted.id}, which says {values[quoted.id]}")
    for zone in draft.forced_exit_zones:
        _check_zone(zone, facts)
    strange = sorted(set(draft.risk_flags) - set(RISK_FLAGS))
    if strange:
        raise AnswerRefused(f"the answer raises unknown flags: {', '.join(strange[:3])}")
    crowding = min(max(draft.crowding_score, 0), 100)
    confidence = min(max(draft.confidence, 0.0), 1.0)
    bias = draft.bias
    if bias == draft.trap_direction and crowding > CONTRADICTION_CROWDING:
        bias, confidence = "neutral", confidence / 2.0
    return Analysis(
        pair=facts.pair,
        crowding=crowding / 100.0,
        trap=draft.trap_direction,
        bias=bias,
        confidence=confidence,
        risk_flags=tuple(dict.fromkeys(draft.risk_flags)),
        forced_exit_zones=tuple((facts.to_price(z.low), facts.to_price(z.high)) for z in draft.forced_exit_zones),
        evidence=tuple(dict.fromkeys(cited)),
        source=model,
        made_ms=facts.close_ms,
        expires_ms=facts.close_ms + facts.ttl_ms,
        state_hash=facts.state_hash,
    )


def _check_zone(zone: Zone, facts: AnalystFacts) -> None:
    """Longs are forced out below the price, shorts above, near what was observed, within two ranges of width."""
    margin = RANGE_MARGIN * facts.average_range
    where = f"zone {zone.low} to {zone.high}"
    if not zone.low < zone.high:
        raise AnswerRefused(f"{where} is empty")
    if zone.low < facts.lowest - margin or zone.high > facts.highest + margin:
        raise AnswerRefused(f"{where} lies outside the observed range")
    if zone.high - zone.low > ZONE_WIDTH * facts.average_range:
        raise AnswerRefused(f"{where} is wider than {ZONE_WIDTH:g} average ranges")
    if (zone.side == "long" and zone.low >= RESCALED) or (zone.side == "short" and zone.high <= RESCALED):
        raise AnswerRefused(f"{where} lies on the wrong side for {zone.side}s")
