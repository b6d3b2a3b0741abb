"""Which components work together: every combination is built, trained one step and used to predict, or rejected."""
