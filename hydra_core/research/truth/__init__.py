"""Markets whose optimum is known, and how much of it HYDRA's organs find: the ground truth that ``hydra bench truth`` prints.

``planted`` returns with a signal of known worth in nineteen observables, ``histories`` that can be traded, planted or empty,
``agents`` a market of leveraged agents for the crowd model (``forced``), ``runs`` whole small research runs; ``measures`` an
organ on one draw, ``rows`` what is asked of it, ``bench`` the table. These are arrays from a seed. Beside them recorded
history: ``recorded`` reads it, ``rivals`` are the plain forecasters and rules, ``realdata`` holds HYDRA against them.

Not here: the synthetic market that is traded on (``hydra_core.simulation``), the judge (``research.evaluation``, ``gates``).
"""
