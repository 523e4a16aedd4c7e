"""The command `bnparity`, also as `python -m bnparity`. It stands outside the packages so that Ctrl-C while they are
imported, which takes most of a second, is one line and exit status 130, as it is later."""

import sys


def main() -> int:
    """Import the command line, and run it."""
    try:
        from parity.cli import main as run
    except KeyboardInterrupt:
        print("bnparity: interrupted", file=sys.stderr)
        return 130
    return run()


if __name__ == "__main__":
    sys.exit(main())
