"""The fault suite in its long form: kills what a platform consists of, again and again, under a steady load of writes.

Each trial starts a platform of its own on free ports, with one service more that follows the others and writes down each
effect. Writers send REST and gRPC through the gateway and repeat what was not answered; subscribers follow through the
gateway. In the end everything must have come back by itself, each acknowledged write must be in the change log once, and
must have had its effect once, in the order of its record.

Examples:
  make faults
  make faults ARGS="--transport stream --faults 20 --seed 7"
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console

from tests.faults.report import show
from tests.faults.trial import Plan, Result, Trial

TRANSPORTS = ("stream", "amqp")


def main() -> int:
    arguments = _arguments()
    console = Console(highlight=False)
    results = [_trial(console, _plan(arguments, transport)) for transport in arguments.transport.split(",")]
    show(console, results)
    return 1 if any(result.problems for result in results) else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make faults", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--transport", default=",".join(TRANSPORTS), help="stream, amqp or both (default: %(default)s)")
    parser.add_argument("--faults", type=int, default=70, help="faults in each trial (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=300, help="they end after this time (default: %(default)s)")
    parser.add_argument("--away", type=float, default=60, help="seconds without a broker (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6), help="repeats a trial")
    parser.add_argument("--keep", action="store_true", help="keep the platforms' folders, with their logs")
    return parser.parse_args()


def _plan(arguments: argparse.Namespace, transport: str) -> Plan:
    return Plan(
        transport, arguments.faults, arguments.seed, seconds=arguments.seconds, away=arguments.away, keep=arguments.keep
    )


def _trial(console: Console, plan: Plan) -> Result:
    console.rule(f"{plan.transport}, {plan.faults} faults, seed {plan.seed}")
    folder = Path(tempfile.mkdtemp(prefix="kontor-faults-"))
    # PostgreSQL runs as another user where we are root.
    folder.chmod(0o755)
    began = time.monotonic()

    def say(text: str) -> None:
        console.print(f"[dim]{time.monotonic() - began:6.1f} s[/]  {text}")

    trial = Trial(folder, plan, say)
    try:
        trial.run()
    except AssertionError as error:
        trial.result.problems.append(str(error))
    result = trial.result
    say(f"[red]{len(result.problems)} problems[/]" if result.problems else "[green]everything held[/]")
    if plan.keep or result.problems:
        console.print(f"Everything of this trial lies in {folder}")
    else:
        shutil.rmtree(folder)
    return result


if __name__ == "__main__":
    sys.exit(main())
