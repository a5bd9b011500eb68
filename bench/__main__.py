"""Where `bench` starts: Ctrl-C first, since all else takes a while to import."""

import os
import sys

from bench import interrupt


def main() -> None:
    """Entry point."""
    interrupt.leave_at_once()
    from bench import cli

    try:
        cli.main()
    except SystemExit as end:
        if end.code == interrupt.EXIT_CODE:
            # Python's own way out can take seconds, which a second Ctrl-C tears, and may end by the signal instead.
            sys.stdout.flush()
            os._exit(interrupt.EXIT_CODE)
        raise


if __name__ == "__main__":
    main()
