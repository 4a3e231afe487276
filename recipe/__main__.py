"""`python -m recipe COMMAND`, and once installed `recipe COMMAND`: what is done with runs, beside training them."""

import argparse
import sys

from recipe.commands import clean, curves, data, evaluate, explain, export, plan, predict, report, status, weights
from recipe.commands.bench import command as bench
from recipe.encoding import any_locale
from recipe.errors import check_here, fail
from recipe.files import give_matplotlib_a_folder
from recipe.machine.torchrun import check_environment
from recipe.output import show_what_can_be_shown, tell_what_was_not_shown
from recipe.plan.command_line import refuse_empty, with_home
from recipe.plan.hydra_errors import explain as explain_error

COMMANDS = (evaluate, predict, export, explain, plan, report, status, curves, clean, data, weights, bench)


def main() -> None:
    """Run the command; an error that the user can put right is one message and exit code 2."""
    show_what_can_be_shown()
    any_locale()
    give_matplotlib_a_folder()
    parser = argparse.ArgumentParser(prog="recipe", description="What is done with runs, beside training them.")
    parsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add_to(parsers)
    try:
        check_here()
        check_environment(of_a_run=False)
        for word in sys.argv[1:]:
            refuse_empty(word)
        arguments, more = parser.parse_known_args([with_home(word) for word in sys.argv[1:]])
        if more:  # argparse loses words behind an option, as in `recipe predict RUN --top 3 photo.jpg`
            if not hasattr(arguments, "arguments") or any(word.startswith("-") for word in more):
                parser.error(f"unrecognized arguments: {' '.join(more)}")
            arguments.arguments.extend(more)
        arguments.run(arguments)
    except KeyboardInterrupt:
        fail("stopped by hand.", code=130)
    except Exception as error:
        message = explain_error(error)
        if message is None:
            raise
        fail(message, getattr(error, "on_every_rank", True))
    finally:
        lost = tell_what_was_not_shown()
    if lost and _only_prints(arguments):
        sys.exit(1)


def _only_prints(arguments: argparse.Namespace) -> bool:
    """Whether what is printed is all that the command is for."""
    files = any(getattr(arguments, name, None) is not None for name in ("out", "csv", "annotate"))
    printing = (explain.run, status.run, data.verify, bench.run_loader, bench.run_step, predict.run)
    return arguments.run in printing and not files


if __name__ == "__main__":
    main()
