"""``python -m lmtools`` and ``accelerate launch -m lmtools``."""

from lmtools.cli.app import main

if __name__ == "__main__":
    main()
