"""Brokers: who takes booked orders to a market, on paper or to an exchange, and keeps the ledger true to what happened there.

Not here: what to trade (``decision``), when a slice is due and what the kill switches allow (``trader``), the table that an
order moves along (``execution``), how an exchange is reached (``market``).
"""
