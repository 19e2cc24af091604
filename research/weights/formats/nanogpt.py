"""nanoGPT's checkpoints: ckpt.pt, as its train.py saves it."""

from pathlib import Path
from typing import Any

from research.config import Model
from research.config.values import convert
from research.data.tokenizers import published
from research.errors import UsageError
from research.weights.formats import torch_pickle
from research.weights.formats.names import NANOGPT
from research.weights.layout import Weights, merge_tied, to_ours, unused_tensors

FILE = "ckpt.pt"
PREFIXES = ("_orig_mod.", "module.", "transformer.")  # of torch.compile, of several GPUs, of the inner model
BUFFER = ".attn.bias"  # a mask, in versions before PyTorch 2
FIELDS = {
    "vocabulary": "vocab_size",
    "context": "block_size",
    "width": "n_embd",
    "depth": "n_layer",
    "heads": "n_head",
}


def read(directory: Path) -> Weights:
    """Read a checkpoint, without the optimizer state.

    Raises UsageError for a file that is damaged or holds another model.
    """
    path, config = directory / FILE, model(directory)
    tensors = {}
    for name, tensor in torch_pickle.arrays(path, _part(directory, "model")).items():
        for prefix in PREFIXES:
            name = name.removeprefix(prefix)
        if not name.endswith(BUFFER):
            tensors[name] = tensor
    merge_tied(tensors, {"lm_head.weight": "wte.weight"}, path)
    arrays = to_ours(NANOGPT, tensors, config, path)
    return Weights(config, arrays, unused_tensors(tensors), published.beside(directory))


def model(directory: Path) -> Model:
    """The model of a checkpoint's model_args.

    Its activation is nanoGPT's since May 2023. Earlier weights used gelu_tanh, which the file does not show.
    """
    path, arguments = directory / FILE, _part(directory, "model_args")
    for key in FIELDS.values():
        if key not in arguments:
            raise UsageError(f"{path}: has no model_args[{key!r}]")
    sizes = {field: convert(arguments[key], int, f"{path}: {key}") for field, key in FIELDS.items()}
    return Model(
        family="gpt2",
        activation="gelu_erf",
        bias=convert(arguments.get("bias", True), bool, f"{path}: bias"),
        dropout=convert(arguments.get("dropout", 0.0), float, f"{path}: dropout"),
        **sizes,
    )


def _part(directory: Path, name: str) -> dict[str, Any]:
    checkpoint = torch_pickle.load(directory / FILE)
    part = checkpoint.get(name) if isinstance(checkpoint, dict) else None
    if not isinstance(part, dict):
        raise UsageError(f"{directory / FILE}: has no {name}; expected a checkpoint of nanoGPT's train.py")
    return part
