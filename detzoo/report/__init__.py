"""Tables, pages, plots and pictures."""
