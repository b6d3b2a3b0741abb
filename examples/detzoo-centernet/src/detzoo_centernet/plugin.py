"""Hook implementations of the plugin: none, its manifest says everything. Imports nothing heavy."""
