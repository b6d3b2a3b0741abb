"""The joins: how components become a detector, and how a detector predicts."""
