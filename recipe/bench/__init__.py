"""Measurements of this machine, beside what else one could pick."""
