"""What several data sets say together: for a terminal, Markdown, CSV and the page."""
