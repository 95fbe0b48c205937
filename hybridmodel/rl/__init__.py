"""Model-based reinforcement learning on the models and planners of this package."""
