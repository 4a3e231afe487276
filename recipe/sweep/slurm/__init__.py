"""The jobs of a sweep on a Slurm cluster: asked for, submitted, run on their nodes, put back into the queue."""
