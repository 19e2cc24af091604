"""Adapter to EleutherAI's lm-evaluation-harness: `lm_eval.simple_evaluate(Adapter(model), tasks=[…])`."""

from collections.abc import Sequence
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM

from research.evaluation.eval_model import EvalModel
from research.evaluation.scoring import Pair, log_likelihood, score_pairs
from research.generation import Sampling, complete
from research.models.decoding import decoder
from research.models.gpt import GPT

DEFAULT_TOKENS = 256  # new tokens if a task sets no maximum


class Adapter(LM):
    """Likelihoods and generated texts of a GPT, through the harness's interface."""

    def __init__(self, eval_model: EvalModel, batch: int = 8, seed: int = 0):
        super().__init__()
        self.eval_model, self.batch, self.seed = eval_model, batch, seed
        self._decoder: GPT | None = None

    @property
    def tokenizer_name(self) -> str:
        return "lineage"

    def loglikelihood(
        self, requests: Sequence[Instance], disable_tqdm: bool = False
    ) -> list[tuple[float, bool]]:
        pairs = [self._pair(*request.args) for request in requests]
        scores = score_pairs(self.eval_model.model, pairs, self.batch)
        return [(score.log_probability, score.greedy) for score in scores]

    def loglikelihood_rolling(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[float]:
        """Log-likelihood of whole texts, in windows that do not overlap, as the harness's own models do."""
        stride, totals = self.eval_model.model.config.context, []
        for request in requests:
            ids = self.eval_model.document_start + self.eval_model.encode(request.args[0])
            total = log_likelihood(self.eval_model.model, ids, stride, self.batch) if len(ids) > 1 else 0.0
            totals.append(total)
        return totals

    def generate_until(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[str]:
        gpt = self._decoder = self._decoder or decoder(self.eval_model.model)
        return [self._generate(gpt, *request.args) for request in requests]

    def _pair(self, context: str, continuation: str) -> Pair:
        if not context:
            before = self.eval_model.document_start or self.eval_model.encode("\n")
            return Pair(before, self.eval_model.encode(continuation))
        spaces = context[len(context.rstrip()) :]
        context, continuation = context[: len(context) - len(spaces)], spaces + continuation
        before = self.eval_model.encode(context)
        return Pair(before, self.eval_model.encode(context + continuation)[len(before) :])

    def _generate(self, gpt: GPT, prompt: str, options: dict[str, Any]) -> str:
        tokens = int(options.get("max_gen_toks", DEFAULT_TOKENS))
        stops = options.get("until") or []
        stops = [stops] if isinstance(stops, str) else [stop for stop in stops if stop]
        do_sample = bool(options.get("do_sample")) and options.get("temperature", 1.0) > 0
        sampling = Sampling(
            temperature=float(options.get("temperature", 1.0)) if do_sample else 0.0,
            top_k=options.get("top_k"),
            top_p=options.get("top_p"),
        )
        kept = max(self.eval_model.model.config.context - tokens, 1)
        ids = self.eval_model.encode(prompt)
        prompt = prompt if len(ids) <= kept else self.eval_model.tokenizer.decode(ids[-kept:])
        tokenizer = self.eval_model.tokenizer
        (completion,) = complete(gpt, tokenizer, [prompt], tokens, sampling, self.seed, stops)
        return completion.text


def run(
    eval_model: EvalModel, name: str, batch: int, limit: int | None, folder: str | None = None
) -> dict[str, float]:
    """Metrics of one of the harness's tasks, or of a task that a YAML file in `folder` declares."""
    import lm_eval
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=folder)
    evaluate: Any = lm_eval.simple_evaluate  # its decorator hides its parameters from a type checker
    results = evaluate(
        Adapter(eval_model, batch),
        tasks=[name],
        limit=limit,
        task_manager=manager,
        bootstrap_iters=0,
        log_samples=False,
    )
    return {
        metric.removesuffix(",none"): float(value)
        for metric, value in results["results"][name].items()
        if isinstance(value, (int, float)) and "stderr" not in metric and metric != "sample_len"
    }
