"""Modules and files of other people that register experiments, optimizers, model parts … when imported.

`--import`, LINEAGE_IMPORT and the entry-point group `lineage.experiments` name them. A run's record keeps
their names, to import them again, and hashes of the code behind the names that the run uses. Standard
library only.
"""
