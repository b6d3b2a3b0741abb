"""What the conformance kit checks of components of this plugin's kinds; a module per kind."""
