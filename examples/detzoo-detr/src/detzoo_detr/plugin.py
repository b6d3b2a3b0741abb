"""The plugin's door: hook implementations and nothing heavy. DETR needs none: its manifest says everything."""
