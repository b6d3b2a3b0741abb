"""The schema of recipes and components: YAML with positions, signatures, types as nodes; free of torch."""
