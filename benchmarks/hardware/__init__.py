"""Logs of real machines: analytic models, protocols and bars, one module a set."""
