"""Where workers run: on this machine, or where Slurm finds room."""
