"""Log-probabilities by Transformers, one sequence at a time, in the plainest way. Needs the extra `parity`.

python -m tests.evaluation.torch_scores
"""

import json

import torch
import transformers

from tests.evaluation.test_scoring import CONTEXT, GOLDEN, pairs, stream


def stream_log_probability(model, ids: list[int], context: int, stride: int) -> float:
    """Sum over all tokens but the first, each after the tokens before it in its window."""
    total, done = 0.0, 1
    end = min(context + 1, len(ids))
    while done < len(ids):
        begin = max(0, end - 1 - context)
        log_ = _log_probabilities(model, ids[begin : end - 1])
        total += sum(float(log_[place - begin - 1, ids[place]]) for place in range(done, end))
        done, end = end, min(end + stride, len(ids))
    return total


def pair_score(model, before: list[int], after: list[int], context: int) -> tuple[float, bool]:
    """Score of the end of `after` that fits the context, after the end of `before` that fits."""
    ids = [*before, *after][-(context + 1) :]
    first = max(len(ids) - len(after), 1)
    log_ = _log_probabilities(model, ids[:-1])
    places = range(first, len(ids))
    total = sum(float(log_[place - 1, ids[place]]) for place in places)
    return total, all(int(log_[place - 1].argmax()) == ids[place] for place in places)


def golden() -> dict:
    model = transformers.GPT2LMHeadModel.from_pretrained(GOLDEN / "gpt2").eval()
    scores = [pair_score(model, *pair, CONTEXT) for pair in pairs()]
    streams = {
        str(stride): stream_log_probability(model, stream(), CONTEXT, stride) for stride in (1, 7, CONTEXT)
    }
    likeliest = [5, 6, 7]
    for _ in range(4):
        likeliest.append(int(_log_probabilities(model, likeliest)[-1].argmax()))
    return {
        "likeliest": likeliest,
        "streams": streams,
        "pairs": [score for score, _ in scores],
        "greedy": [hit for _, hit in scores],
    }


@torch.no_grad()
def _log_probabilities(model, ids: list[int]) -> torch.Tensor:
    return model(torch.tensor([ids])).logits[0].double().log_softmax(-1)


if __name__ == "__main__":
    (GOLDEN / "gpt2_scores.json").write_text(json.dumps(golden(), indent=1) + "\n")
