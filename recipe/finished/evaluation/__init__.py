"""What an evaluation of a finished run measures, writes and draws."""
