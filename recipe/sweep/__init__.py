"""Many trainings from one command: each its own processes, on a share of this machine or on a cluster."""
