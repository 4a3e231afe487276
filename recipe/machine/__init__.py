"""The machine: the processes that train together, what they may use of it, the signals they get."""
