"""The resident process that keeps money safe: streams, orders, protective stops, guard, heartbeat. Works with Dagster down.

Not here: deciding (decision.py, window), the risk rules themselves (risk/), the database (ledger/).
"""
