"""The command line. Each group of commands adds itself to the parser in `parser()`; `dev` is the first."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from kontor_dev import commands, events
from kontor_dev.errors import Refused

EPILOG = """exit codes:
  0  done; for `dev up`: asked to stop, and stopped
  1  it could not be done; standard error says why
  2  wrong arguments
"""


def parser() -> argparse.ArgumentParser:
    """Returns the whole command line."""
    top = argparse.ArgumentParser(
        prog="kontor",
        description="Kontor, the CRM platform of small services.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    groups = top.add_subparsers(title="groups", metavar="GROUP", required=True)
    commands.add_group(groups)
    events.add_group(groups)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    cut = words.index("--") if "--" in words else len(words)
    # What stands behind `--` is for the program that the command runs.
    arguments = parser().parse_args(words[:cut], argparse.Namespace(rest=words[cut + 1 :]))
    try:
        return int(arguments.run(arguments))
    except Refused as error:
        print(f"kontor: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        # Whoever read our output has seen enough.
        sys.stderr.close()
        return 0
