"""Sweeps: Optuna chooses settings, trials are ordinary runs, and no trial is lost or repeated if workers die.

A sweep's directory holds `sweep.json` (its declaration), `study.db` or `study.journal` (Optuna's storage,
unless --storage names another), `trials/NNNN` (runs), `logs/` and `leases/` (locks of workers).
"""
