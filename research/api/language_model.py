"""A trained model for inspection: logits, loss, states, attention, text.

Shapes: B rows, L length of the longest row, V vocabulary, D width, H heads, N depth. One text or one list of
ids is a batch of one. Rows are padded at their end; values at padded positions are arbitrary, and
`encode(…).lengths_B` says where they begin. All arrays are NumPy's, float32.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, overload

import jax
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from tokenizers import Tokenizer

from research.api.activations import (
    activations,
    attention_probabilities,
    edited,
    logits,
    loss,
    site_shapes,
    states,
)
from research.api.inputs import Inputs, TextOrIds, encode
from research.api.running import in_32_bits, keep_compiled
from research.api.surprisals import surprisals
from research.config import Model
from research.config.registry import Registry
from research.errors import UsageError
from research.generation import BeamSearch, Sampling, complete, fill_masks
from research.generation.fill_mask import Filled
from research.models import BERT, GPT, is_bert, is_gpt
from research.models.decoding import decoder
from research.models.parameters import by_path
from research.models.sites import Edit
from research.weights import Report, save
from research.weights.fit import replaced
from research.weights.layout import TaskHead, Weights
from research.weights.with_tokenizer import load_with_tokenizer

BATCH = 8  # rows generated together

# A model's compiled functions are found by the names of its parts, whose definitions may have changed.
Registry.on_change.append(jax.clear_caches)


@in_32_bits
def load(target: str | Path, tokenizer: str | None = None) -> "LanguageModel":
    """Loads a run ("runs/muon", or "runs/muon:300" for one checkpoint) or weights.

    Weights are a directory of Hugging Face, OpenAI or Google's TensorFlow, or "hub:OWNER/NAME[@REVISION]".
    `tokenizer` is a name or path that replaces the tokenizer beside the weights. Without a tokenizer, a model
    takes only ids. Raises UsageError for weights that are missing, damaged or unsupported; EnvironmentFault
    if they cannot be fetched.
    """
    keep_compiled()
    loaded = load_with_tokenizer(str(target), tokenizer, required=False)
    leaves = by_path(loaded.model)
    initial = {path: leaves[path] for path in loaded.report.missing}
    return LanguageModel(
        loaded.model, loaded.config, loaded.tokenizer, loaded.report, loaded.task_head, initial
    )


@dataclass(frozen=True, eq=False)
class LanguageModel:
    """A GPT or BERT with its tokenizer."""

    module: GPT | BERT  # a pytree of parameters, for `jax.jit` and `jax.grad`
    config: Model
    tokenizer: Tokenizer | None
    report: Report  # the parameters found, missing (heads with initial values) and unused
    task_head: TaskHead | None = None  # the meaning of a fine-tuned model's outputs
    # Initial values of missing heads: not saved unless they have changed.
    initial: Mapping[str, Array] = field(default_factory=dict, repr=False)
    _decoded: list[Any] = field(default_factory=list, init=False, repr=False, compare=False)

    def __repr__(self) -> str:
        c, count = self.config, sum(array.size for array in self.parameters.values())
        edited = "".join(f", {name} edited" for name in dict(self.module.edits))
        size = f"{c.depth} × {c.width}, {c.heads} heads, {count:,} parameters"
        return f"LanguageModel({c.family}, {size}{edited})"

    @property
    def parameters(self) -> dict[str, Array]:
        """{path: array}, such as blocks/mlp/expand/kernel (N, D, 4 D); blocks have a leading axis N."""
        return by_path(self.module)

    def with_parameters(self, changes: Mapping[str, ArrayLike]) -> "LanguageModel":
        """A model with other values for the parameters in `changes`, by path; this one stays as it is.

        Raises UsageError for an unknown path, another shape, and values that are not numbers.
        """
        return replace(self, module=replaced(self.module, changes))

    def save(self, directory: str | Path) -> None:
        """Write the model and its tokenizer to a new directory, which `load` and all commands read.

        `lineage export` turns it into one for Transformers. Edits of `module` are saved too. Raises
        UsageError if the directory exists, and for parameters that are not finite.
        """
        if self.module.edits:
            raise UsageError(f"save: the edits of {', '.join(dict(self.module.edits))} are no parameters")
        arrays = {path: np.asarray(array) for path, array in self.parameters.items()}
        for path in self._untouched():
            del arrays[path]
        save(directory, Weights(self.config, arrays, {}, self.tokenizer, self.task_head))

    def _untouched(self) -> list[str]:
        """Missing heads that still have their initial values."""
        return [path for path, array in self.parameters.items() if self.initial.get(path) is array]

    def encode(self, text_or_ids: TextOrIds) -> Inputs:
        """The batch that the other methods use: tokens (B, L), segments (B, L), lengths (B,)."""
        return encode(text_or_ids, self.tokenizer, self.config.vocabulary, self.module.bidirectional)

    def logits(self, text_or_ids: TextOrIds) -> np.ndarray:
        """Logits (B, L, V): a GPT's for the next token, a BERT's for the token at each position.

        Raises UsageError for rows longer than the context, and for a BERT fine-tuned for a task.
        """
        if self.module.bidirectional:
            self._check_masked_head("logits")
        return logits(self.module, self._inputs(text_or_ids))

    def loss(self, text_or_ids: TextOrIds) -> float:
        """A GPT's mean negative log-likelihood, in nats per token, of all tokens but the first of each row.

        Rows longer than the context are read in windows that overlap by half of it. Raises UsageError for a
        BERT, which gives no likelihood of a text, if no row has two tokens, and, of an edited model, for rows
        longer than the context.
        """
        if not is_gpt(self.module):
            raise UsageError("loss: a BERT gives no likelihood of a text; load a GPT, or use fill_mask")
        return loss(self.module, self.encode(text_or_ids))

    surprisals = surprisals

    def hidden_states(self, text_or_ids: TextOrIds) -> list[np.ndarray]:
        """N + 1 of (B, L, D): every block's input and, last, the final state.

        Raises UsageError for rows longer than the context."""
        return states(self.module, self._inputs(text_or_ids))

    def attentions(self, text_or_ids: TextOrIds) -> list[np.ndarray]:
        """N of (B, H, L, L): how much each position (third axis) attends to each (last axis).

        Rows sum to 1. Positions that are hidden from the model (later ones, padding) have 0. Raises
        UsageError for rows longer than the context.
        """
        return attention_probabilities(self.module, self._inputs(text_or_ids))

    @property
    def sites(self) -> list[str]:
        """The names of the arrays that `activations` reads and `edited` changes."""
        return list(site_shapes(self.module))

    def activations(self, text_or_ids: TextOrIds, *sites: str) -> dict[str, np.ndarray]:
        """{name: array} of the sites with these names or patterns, as "blocks/*/mlp/output"; default: of all.

        Raises UsageError for a name that no site has, and for rows longer than the context.
        """
        return activations(self.module, self._inputs(text_or_ids), sites or ("**",))

    def edited(self, edits: Mapping[str, Edit | ArrayLike]) -> "LanguageModel":
        """A model whose sites with these names or patterns are changed in each forward pass.

        An edit is a function of the site's array, or an array in its place. This model stays as it is.
        Raises UsageError for a name that no site has, and later for an edit of another shape.
        """
        return replace(self, module=edited(self.module, edits))

    def generate(
        self,
        prompt: str | Sequence[str] = "",
        tokens: int = 100,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        repetition_penalty: float = 1.0,
        seed: int = 0,
        stop: Sequence[str] = (),
        beams: int | None = None,
    ) -> str | list[str]:
        """Continue a prompt, or each of a list, by at most `tokens` tokens.

        Temperature 0 takes the most likely token; `beams` searches for the most likely text instead of
        sampling. The empty prompt starts a document. Raises UsageError for a BERT, and for sampling options
        together with `beams`.
        """
        if not is_gpt(self.module):
            raise UsageError("generate: a BERT does not continue texts; expected a GPT, or use fill_mask")
        options = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
        options["repetition_penalty"] = repetition_penalty
        if beams is not None:
            for name, value in options.items():
                if value != getattr(Sampling, name):
                    raise UsageError(f"generate: {name}: not with beams, which does not sample")
        decoding = Sampling(**options) if beams is None else BeamSearch(beams)
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        stops = [stop] if isinstance(stop, str) else list(stop)
        gpt, tokenizer = self._decoder(self.module), self._tokenizer()
        done = complete(gpt, tokenizer, prompts, tokens, decoding, seed, stops, BATCH)
        return done[0].text if isinstance(prompt, str) else [one.text for one in done]

    @overload
    def fill_mask(self, text: str, top: int = 5) -> Filled: ...
    @overload
    def fill_mask(self, text: Sequence[str], top: int = 5) -> list[Filled]: ...
    def fill_mask(self, text: str | Sequence[str], top: int = 5) -> Filled | list[Filled]:
        """A BERT's `top` most likely pieces at each [MASK] of a text, or of each in a list.

        `Filled.text` is the text with the most likely pieces, `Filled.masks` lists (piece, probability) for
        each [MASK]. Raises UsageError for a GPT, and for a BERT fine-tuned for a task.
        """
        if not is_bert(self.module):
            raise UsageError("fill_mask: a GPT reads from left to right; expected a BERT, or use generate")
        self._check_masked_head("fill_mask")
        texts = [text] if isinstance(text, str) else list(text)
        filled = fill_masks(self.module, self._tokenizer(), texts, top)
        return filled[0] if isinstance(text, str) else filled

    def _decoder(self, module: GPT) -> GPT:
        """The module converted for decoding, again if it has been edited."""
        leaves = jax.tree.leaves(module)
        if not self._decoded or any(a is not b for a, b in zip(leaves, self._decoded[0], strict=True)):
            self._decoded[:] = leaves, decoder(module)
        return self._decoded[1]

    def _tokenizer(self) -> Tokenizer:
        if self.tokenizer is None:
            raise UsageError("no tokenizer beside the weights: expected load(…, tokenizer=NAME or PATH)")
        return self.tokenizer

    def _check_masked_head(self, method: str) -> None:
        if self.config.head != "pretraining":
            raise UsageError(f"{method}: this BERT is fine-tuned for a task and has no masked-token head")
        if any(path.startswith("masked/") for path in self._untouched()):
            raise UsageError(f"{method}: the weights have no masked-token head")

    def _inputs(self, text_or_ids: TextOrIds) -> Inputs:
        return self.encode(text_or_ids).within(self.config.context)
