"""`python -m nmt`: the `nmt` command."""

import os
import signal
import sys
from contextlib import suppress
from typing import Any


def end_now(*_: Any) -> None:
    """Ends the process: what is being computed cannot be stopped, and nobody waits for it."""
    with suppress(OSError, ValueError, RuntimeError):  # closed, or in the middle of a write
        if sys.stdout is not None:
            sys.stdout.flush()  # what was printed is not lost
    with suppress(OSError):
        os.write(2, b"\ninterrupted\n" if os.isatty(2) else b"interrupted\n")
    os._exit(128 + signal.SIGINT)  # as of any command that Ctrl-C ended


def main() -> int:
    """Runs the command line."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not where it is ignored
        signal.signal(signal.SIGINT, end_now)
    from nmt import cli  # behind that: it takes seconds

    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
