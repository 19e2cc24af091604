"""Sweeps: Optuna chooses, trials are ordinary runs, and nothing that dies is lost or done twice.

A sweep's directory holds `sweep.json` (what is swept), `study.db` or `study.journal` (Optuna's, unless
another storage was asked for), `trials/NNNN` (runs), `logs/` and `leases/` (who works on what).
"""
