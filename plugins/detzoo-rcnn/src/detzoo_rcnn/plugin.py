"""Hook implementations of the plugin: none yet, its manifest says everything. Imports nothing heavy."""
