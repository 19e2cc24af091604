"""What came of runs and sweeps: facts to compare, and a page that shows them."""
