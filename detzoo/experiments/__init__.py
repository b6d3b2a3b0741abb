"""Many trainings: grids of overrides, worked off one after another, over several devices or over a Ray cluster."""
