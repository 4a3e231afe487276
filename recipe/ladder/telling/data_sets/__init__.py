"""What several data sets say together: tables, a figure, a CSV."""
