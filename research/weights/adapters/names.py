"""PEFT's names of factors and of other trained layers, in the tables of Hugging Face's names."""

from research.models.parts.lora import LAYERS, PARTS, attribute
from research.weights.formats.names import HUGGING_FACE
from research.weights.layout import TRANSPOSED, TRANSPOSED_THIRDS, Row

PREFIX = "base_model.model."  # of all names in an adapter
A, B = "lora_A.weight", "lora_B.weight"
WEIGHT = ".weight"


def layers(family: str) -> dict[str, str]:
    """Our kernels that PEFT can name, with their layers: {"qkv": "h.{n}.attn.c_attn", …}.

    A fused layer of queries, keys and values has one pair of factors, three layers have three.
    """
    names = {row.path: row.name.removesuffix(WEIGHT) for row in HUGGING_FACE[family]}
    found = {}
    for kernel, (module, layer) in LAYERS.items():
        name = names.get(f"blocks/{module}/{layer}/kernel")
        if name is not None and ("{part}" in name) == (kernel in PARTS):
            found[kernel] = name.replace("{part}", kernel)
    return found


def factor_rows(family: str, kernels: tuple[str, ...]) -> list[Row]:
    """The table of the factors. theirs: A (rank, inputs) and B (outputs, rank), of any kind of layer."""
    rows, known = [], layers(family)
    for kernel in kernels:
        ours = f"{layer_path(kernel)}/{attribute(kernel)}"
        rows.append(Row(f"{ours}/a/kernel", f"{known[kernel]}.{A}", TRANSPOSED))
        thirds = TRANSPOSED_THIRDS if kernel == "qkv" else TRANSPOSED
        rows.append(Row(f"{ours}/b/kernel", f"{known[kernel]}.{B}", thirds))
    return rows


def layer_path(kernel: str) -> str:
    return "/".join(("blocks", *LAYERS[kernel]))


def targets(family: str, kernels: tuple[str, ...], depth: int) -> list[str]:
    """`target_modules` that match exactly the layers of `kernels`, by the ends of their names.

    BERT's `output.dense` is also the end of `attention.output.dense`: without factors on that, the layers
    are named one by one.
    """
    ends = []
    for kernel in kernels:
        name = layers(family)[kernel]
        end = name.partition("{n}.")[2]
        inner = [other for other in layers(family) if other not in kernels]
        if any(layers(family)[other].endswith(f".{end}") for other in inner if other != kernel):
            ends += [name.format(n=n) for n in range(depth)]
        else:
            ends.append(end.rpartition(".")[2] if kernel in PARTS or kernel == "qkv" else end)
    return ends
