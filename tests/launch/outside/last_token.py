"""An evaluation task: the last token of each line, predicted from those before it."""

import numpy as np

from research.config.names import TASKS
from research.evaluation.eval_model import Result


@TASKS.register("last_token")
def last_token(eval_model, found, settings) -> Result:
    """Last token of a line: accuracy."""
    lines = [eval_model.encode(line) for line in found.text.splitlines()[: settings.limit]]
    hits = [ids[-1] == int(eval_model.model(np.asarray([ids[:-1]]))[0, -1].argmax()) for ids in lines]
    return Result({"accuracy": 100 * float(np.mean(hits))}, len(hits), {})
