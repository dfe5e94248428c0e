"""Scenarios: a venue that misbehaves by order and seed, HYDRA's real code against it, and what HYDRA must do about it."""
