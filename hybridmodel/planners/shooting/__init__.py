"""Multiple shooting in stages: the program, its quadratic subproblems, and how to solve them."""
