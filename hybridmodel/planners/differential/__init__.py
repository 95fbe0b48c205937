"""Differential dynamic programming: expansions along a path, and the backward sweep."""
