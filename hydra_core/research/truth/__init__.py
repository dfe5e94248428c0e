"""Markets whose optimum is known, and how much of it HYDRA's organs find: the ground truth that ``hydra bench truth`` prints.

``planted`` returns with a signal of known worth in nineteen observables, ``nulls`` histories without one, ``volatilities``,
``regimes``, ``cascades`` and ``forced`` the worlds of layer 2 and of the crowd model, ``runs`` whole small research runs;
``rows`` measures an organ on them, ``bench`` makes the table. Everything is arrays from a seed.

Not here: the synthetic market that is traded on (``hydra_core.simulation``), the judge (``research.evaluation``, ``gates``).
"""
