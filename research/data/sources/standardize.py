"""GPT-1's text standardization (Radford et al., 2018; `text_utils.py` of openai/finetune-transformer-lm)."""

import re

from research.errors import EnvironmentFault

DASHES = str.maketrans({"—": "-", "–": "-", "―": "-", "…": "...", "´": "'"})
# The original's pattern has the backslash in a non-raw string, so it does not separate backslashes.
RUNS = re.compile(r"""(-+|~+|!+|"+|;+|\?+|\++|,+|\)+|\(+|/+|\*+|\[+|\]+|}+|{+|\|+|_+)""")


def gpt1(text: str) -> str:
    """Fix the encoding with ftfy, simplify dashes and quotes, set punctuation apart, and merge white space.

    Raises EnvironmentFault without ftfy.
    """
    try:
        import ftfy
    except ImportError as fault:
        raise EnvironmentFault(
            "data.standardize=gpt1: it needs ftfy: pip install 'lineage-lm[gpt1]'"
        ) from fault
    text = RUNS.sub(r" \1 ", ftfy.fix_text(text).translate(DASHES))
    return re.sub(r"[^\S\n]+", " ", re.sub(r"\s*\n\s*", " \n ", text)).strip()


STANDARDS = {"none": str, "gpt1": gpt1}
IN_CACHES = {"none": "none", "gpt1": "gpt1, 2nd version"}  # names of the rules in cache names
