"""Rungs compared: statistics, contrasts, verdicts."""
