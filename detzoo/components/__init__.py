"""Components that more than one plugin uses; each is registered in registry.yaml."""
