"""Lets `python -m kontor_dev` do what `kontor` does."""

import sys

from kontor_dev.cli import main

if __name__ == "__main__":
    sys.exit(main())
