"""The leak suite: ten ways in which a result can know the future, each with a check that finds it.

L1 prefix invariance and L10 survivorship (``causality``), L2 permuted labels, L4 reversed time, L6 extra lag and L7 embargo
sweep (``learning``), L5 canary (``canary``), L8 stamps and joins (``sources``), L9 figures too good to be true (``suite``,
with the caps of ``research.gates``). ``suite`` runs them over a history or over a candidate. Not here: L3, research runs on
null markets (``research.truth``), and what follows from a finding (``research.gates``).
"""
