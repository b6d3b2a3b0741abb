"""``python -m detzoo``."""

from detzoo.cli import main

if __name__ == "__main__":
    main()
