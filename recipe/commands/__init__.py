"""`python -m recipe …`: one file per command, each with `add_to(parsers)` and `run(arguments)`."""
