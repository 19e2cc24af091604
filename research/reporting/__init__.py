"""Reports on runs and sweeps: results as plain values, and HTML pages."""
