"""Figures of the planners and of control in closed loop."""
