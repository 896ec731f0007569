"""The command line: the only part of quarl that prints and exits."""

from __future__ import annotations

import sys

from quarl.errors import QuarlError

INTERRUPTED = 130  # what a shell reports for Ctrl-C


def main() -> None:
    """Run the command line and exit: 0 pass, 1 the gate says no, 2 bad input or usage, 3 a tool is
    missing, 4 a device failed.
    """
    from quarl.cli.app import app

    try:
        app(standalone_mode=True)
    except QuarlError as error:
        print(f"quarl: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("quarl: stopped; nothing half written was left behind", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output went away
        sys.exit(0)
