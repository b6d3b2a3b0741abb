"""The plugin's door: hook implementations and nothing heavy. There are none yet: the manifest says all."""
