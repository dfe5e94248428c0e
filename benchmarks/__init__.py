"""How fast HYDRA is, as ratios against a peer or a limit that is measured in the same run.

One module (or package) a group, each with ``measure(report) -> list[Row]``; :mod:`rows` has the table and the files. Not
here: assertions about time (no test makes one) and quality of forecasts (the gates judge that).
"""
