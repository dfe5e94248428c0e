"""The analyst: a structured reading of who is crowded and who is trapped, by rules or by a language model beside the cycle.

``readings`` are the numbers, ``rules`` the judgement in code, ``facts`` what a language model is shown, ``schema`` what
it may answer, ``guard`` what of that is believed, ``groq_client`` the call, ``cache`` what was answered before, ``desk``
where the live loop picks analyses up without waiting. An analysis can lower, veto or add one bounded feature; it never
places, enlarges or closes an order.
"""

from hydra_core.alpha.analyst.desk import AnalystDesk
from hydra_core.alpha.analyst.facts import AnalystFacts, facts_from
from hydra_core.alpha.analyst.rules import Judgement, rules_analysis, rules_judgement

__all__ = ["AnalystDesk", "AnalystFacts", "Judgement", "facts_from", "rules_analysis", "rules_judgement"]
