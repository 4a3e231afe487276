"""`python -m recipe COMMAND`, and once installed `recipe COMMAND`: what is done with runs, beside training them."""

import argparse
import sys

from recipe.commands import bench, curves, data, evaluate, explain, export, predict, report
from recipe.errors import fail
from recipe.hydra_errors import explain as explain_error
from recipe.output import nobody_reads

COMMANDS = (evaluate, predict, export, explain, report, curves, data, bench)


def main() -> None:
    """Run the command; an error that the user can put right is one message and exit code 2."""
    parser = argparse.ArgumentParser(prog="recipe", description="What is done with runs, beside training them.")
    parsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add_to(parsers)
    arguments, more = parser.parse_known_args()
    if more:  # argparse loses words behind an option, as in `recipe predict RUN --top 3 photo.jpg`
        if not hasattr(arguments, "arguments") or any(word.startswith("-") for word in more):
            parser.error(f"unrecognized arguments: {' '.join(more)}")
        arguments.arguments.extend(more)
    try:
        arguments.run(arguments)
    except BrokenPipeError:  # recipe … | head
        nobody_reads()  # what Python still flushes at its end
        sys.exit(1)
    except KeyboardInterrupt:
        fail("stopped by hand.", code=130)
    except Exception as error:
        message = explain_error(error)
        if message is None:
            raise
        fail(message, getattr(error, "on_every_rank", True))


if __name__ == "__main__":
    main()
