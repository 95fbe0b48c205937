"""The figures of model-based reinforcement learning."""
