"""Plugins: what a manifest says, how plugins are found without importing them, and how one is activated."""

from detzoo.plugins.hooks import hookimpl
from detzoo.plugins.manager import PluginManager, PluginRecord
from detzoo.plugins.manifest import Manifest

__all__ = ["Manifest", "PluginManager", "PluginRecord", "hookimpl"]
