"""Groups of runs over their seeds, compared."""
