"""`python -m recipe COMMAND`, and once installed `recipe COMMAND`: what is done with runs, beside training them."""

import argparse

from recipe.commands import evaluate, explain
from recipe.errors import UserError, fail

COMMANDS = (evaluate, explain)


def main() -> None:
    """Run the command; an error that the user can put right is one message and exit code 2."""
    parser = argparse.ArgumentParser(prog="recipe", description="What is done with runs, beside training them.")
    parsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add_to(parsers)
    arguments = parser.parse_args()
    try:
        arguments.run(arguments)
    except UserError as error:
        fail(str(error), error.on_every_rank)
    except KeyboardInterrupt:
        fail("stopped by hand.", code=130)


if __name__ == "__main__":
    main()
