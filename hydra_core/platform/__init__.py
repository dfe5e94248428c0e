"""The processes of a running HYDRA: starting, watching, restarting, ending and inspecting them.

Not here: what the processes do (``venue/``, ``trader/``, ``hydra_dagster``) and how it is shown (``cli/``).
Dagster is only ever started as a process, never imported.
"""
