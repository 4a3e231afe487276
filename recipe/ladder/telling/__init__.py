"""Comparisons told: words, tables, CSV files, figures, the page, TensorBoard."""
