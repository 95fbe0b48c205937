"""Figures of the project: `python -m benchmarks.TOPIC [--quick] --json FILE`."""
