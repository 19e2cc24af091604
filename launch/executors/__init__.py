"""Executors: run workers on this machine, or submit them to Slurm."""
