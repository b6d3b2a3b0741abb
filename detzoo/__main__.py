"""``python -m detzoo``."""

from detzoo.cli import main

main()
