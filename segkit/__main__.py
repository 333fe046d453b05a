"""`python -m segkit` is `segkit`."""

from segkit.cli import console

if __name__ == "__main__":
    console()
