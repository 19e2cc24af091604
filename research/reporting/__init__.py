"""Reports on runs and sweeps: their results as plain values, and an HTML page that shows them."""
