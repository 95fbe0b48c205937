"""Sim-to-real studies: the matrix, what an interruption costs, and how far it scales."""
