"""The schema of recipes and components: YAML with positions, signatures, type expressions; free of torch."""
