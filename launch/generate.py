"""`lineage generate`: text on the terminal while it is generated, or JSON at the end."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from launch.options import MODEL, Json, Tokenizer, argument, at_least_one, flag, option
from launch.shell import completion
from launch.shell.as_json import print_json
from launch.shell.starting import starting
from research.errors import UsageError
from research.io.activity import activity

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Tokenizer_

    from research.generation import BeamSearch, Completion, Sampling
    from research.models import BERT

Listen = Callable[[int, str], None]  # (row, its next text)


class Method(NamedTuple):
    """Sampling, or beam search."""

    temperature: Annotated[
        float | None, option("T", "Softmax temperature; 0 takes the most likely token. Default: 1.")
    ] = None
    top_k: Annotated[int | None, option("K", "Sample from the K most likely tokens.")] = None
    top_p: Annotated[float | None, option("P", "Sample from the fewest tokens with total probability P.")] = (
        None
    )
    repetition_penalty: Annotated[
        float | None, option("X", "Penalize tokens that occurred already; 1 is off.")
    ] = None
    beams: Annotated[int | None, option("N", "Use beam search with N beams instead of sampling.")] = None
    length_penalty: Annotated[
        float | None, option("X", "Beam search: divide scores by length to the power X. Default: 1.")
    ] = None
    early_stopping: Annotated[bool, flag("--early-stopping", "Beam search: stop at N finished beams.")] = (
        False
    )

    def chosen(self) -> "Sampling | BeamSearch":
        with starting():
            from research.generation import BeamSearch, Sampling
        sampling = [name for name in self._fields[:4] if getattr(self, name) is not None]
        if self.beams is None:
            if self.early_stopping or self.length_penalty is not None:
                raise UsageError("--length-penalty and --early-stopping: need --beams")
            return Sampling(**{name: getattr(self, name) for name in sampling})
        if sampling:
            name = sampling[0]
            raise UsageError(f"--{name.replace('_', '-')}: not with --beams, which does not sample")
        at_least_one(beams=self.beams)
        return BeamSearch(
            self.beams, 1.0 if self.length_penalty is None else self.length_penalty, self.early_stopping
        )


def generate(
    target: Annotated[str, argument("DIR", MODEL, completion.directories)],
    prompt: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEXT",
            help="Text to continue. Repeatable. Default: start a new document.",
            show_default=False,
        ),
    ] = None,
    *,
    file: Annotated[Path | None, option("FILE", "Read prompts from a file, one per line.")] = None,
    tokens: Annotated[int, option("N", "Maximum number of new tokens.")] = 200,
    method: Method,
    stop: Annotated[list[str] | None, option("TEXT", "End generation at this text. Repeatable.")] = None,
    seed: Annotated[int, option("N", "Random seed of sampling.")] = 0,
    batch: Annotated[int, option("N", "Number of prompts processed together.")] = 8,
    top: Annotated[int, option("N", "BERT: number of candidates shown for each [MASK].")] = 5,
    tokenizer: Tokenizer = None,
    json: Json = False,
) -> None:
    """Continue a prompt with a GPT, or fill in [MASK] with a BERT."""
    prompts = _prompts(prompt, file)
    at_least_one(tokens=tokens, batch=batch, top=top)
    if any(not text for text in stop or ()):
        raise UsageError("--stop '': expected a text")
    chosen = method.chosen()
    with starting():
        from research.devices.startup import use_compilation_cache
        from research.models import BERT
        from research.weights.with_tokenizer import load_with_tokenizer

    use_compilation_cache()
    with activity(f"loading {target}"):
        loaded = load_with_tokenizer(target, tokenizer)
    model, found = loaded.model, loaded.tokenizer
    assert found is not None  # it is required
    if isinstance(model, BERT):
        if any(path.startswith("masked/") for path in loaded.report.missing):
            raise UsageError(f"{target}: the weights have no masked-token head")
        _fill_masks(model, found, prompts, top, json)
        return
    from research.generation import complete
    from research.generation.text import encode_prompt

    for text in prompts:
        encode_prompt(found, text)  # refuses before anything is printed
    printer = None if json else _Printer(prompts)
    listen = printer and printer.listen
    with generating(listen) as shown:
        done = complete(model, found, prompts, tokens, chosen, seed, stop or (), batch, shown)
    if printer is None:
        print_json([one._asdict() for one in done], ensure_ascii=False)
    else:
        printer.finish(done)


def _prompts(prompts: list[str] | None, file: Path | None) -> list[str]:
    if file is None:
        return prompts or [""]
    if prompts:
        raise UsageError("--prompt and --file: expected one of them")
    from research.io.text import lines

    texts = [line for _, line in lines(file) if line.strip()]
    if not texts:
        raise UsageError(f"--file {file}: has no prompts; expected one per line")
    return texts


@contextmanager
def generating(listen: Listen | None) -> Iterator[Listen]:
    """Yields `listen`, with an activity until the first text arrives, because compiling takes seconds."""
    with ExitStack() as waiting:
        waiting.enter_context(activity("generating"))

        def shown(row: int, text: str) -> None:
            if listen is not None:
                waiting.close()
                listen(row, text)

        yield shown


class _Printer:
    """Streams the text of a single prompt; prints those of several at the end, when all are done."""

    def __init__(self, prompts: list[str]):
        self._streams = len(prompts) == 1
        if self._streams:
            self._write(prompts[0])

    def listen(self, row: int, text: str) -> None:
        if self._streams:
            self._write(text)

    def finish(self, done: "list[Completion]") -> None:
        if self._streams:
            print()
            return
        for number, one in enumerate(done, 1):
            print(f"── {number}/{len(done)}, {one.tokens} tokens\n{one.prompt}{one.text}")

    def _write(self, text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()


def _fill_masks(model: "BERT", tokenizer: "Tokenizer_", prompts: list[str], top: int, json: bool) -> None:
    from research.generation import fill_masks

    with activity("filling in"):
        found = fill_masks(model, tokenizer, prompts, top)
    if json:
        facts = [
            one._asdict() | {"masks": [[candidate._asdict() for candidate in mask] for mask in one.masks]}
            for one in found
        ]
        print_json(facts, ensure_ascii=False)
        return
    for one in found:
        print(one.text)
        for number, mask in enumerate(one.masks, 1):
            width = max(len(candidate.piece) for candidate in mask)
            for rank, candidate in enumerate(mask):
                head = f"[MASK] {number}" if rank == 0 else ""
                print(f"  {head:<10}{candidate.piece:<{width}}  {candidate.probability:.4f}")
