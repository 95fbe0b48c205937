"""Derivatives of a plan: the conditions that it fulfils, and their factorised linearisation."""
