"""The meta-architectures: how components become a detector, and how a detector predicts."""
