"""Training: the plan, the loop, checkpoints that survive a kill, and what a run writes."""
