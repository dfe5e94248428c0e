"""Orchestration only: assets, checks, jobs, schedules and sensors over functions of ``hydra_core``.

Not here: arithmetic, files, networks. Importing this package has no effects; the two code locations are the modules
``hydra_dagster.definitions`` (research) and ``hydra_dagster.live`` (decisions).
"""
