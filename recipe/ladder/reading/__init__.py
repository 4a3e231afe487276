"""Run folders read: their results, settings, curves and predictions."""
