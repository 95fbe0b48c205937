"""What planners that draw candidates share."""
