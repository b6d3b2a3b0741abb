"""One file for each kind of foreign detector; imported in its own process, when that kind is used."""
