"""`run.mirror`: a copy of the run in other storage, from which a lost directory is made again.

The copy has the files of the run's directory, so any tool can fetch it. A checkpoint's manifest is copied
last and removed first: a checkpoint with a manifest is whole.
"""

from research.runs.mirror.bringing import bring, check, experiment_of
from research.runs.mirror.copying import mirrored

__all__ = ["bring", "check", "experiment_of", "mirrored"]
