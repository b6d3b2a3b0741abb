"""Which components work together: every combination built, trained one step and predicted with, or refused in words."""
