"""The whole story on one task: log a plant, fit four models, plan with each, close the loop."""
