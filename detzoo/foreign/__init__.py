"""Everybody's detector behind one small protocol: files of networks, libraries, and any Python callable."""
