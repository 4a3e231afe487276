"""Images decoded once and kept in memory, for all workers, ranks and jobs of a machine (data.cache=memory)."""
