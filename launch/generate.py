"""Text on a terminal as it comes, or as JSON when it is there."""

import json as json_
import sys
from pathlib import Path

from launch.loading import load
from research.errors import UsageError


def generate(
    target: str,
    prompts: list[str] | None,
    file: Path | None,
    tokenizer: str | None,
    tokens: int,
    sampling: dict,
    beams: dict,
    stops: list[str] | None,
    seed: int,
    batch: int,
    top: int,
    json: bool,
) -> None:
    texts = _prompts(prompts, file)
    for name, value in (("tokens", tokens), ("batch", batch), ("top", top)):
        if value < 1:
            raise UsageError(f"--{name} {value}: expected 1 or more")
    if any(not stop for stop in stops or ()):
        raise UsageError("--stop '': expected a text")
    how = _how(sampling, beams)
    judged = load(target, tokenizer)
    if judged.config.family == "bert":
        _fill(judged, texts, top, json)
        return
    from research.generation import complete

    show = None if json else _Shown(texts)
    done = complete(
        judged.model, judged.tokenizer, texts, tokens, how, seed, stops or (), batch, show and show.listen
    )
    if json:
        print(json_.dumps([one._asdict() for one in done], indent=2, ensure_ascii=False))
    else:
        show.finish(done)


def _prompts(prompts: list[str] | None, file: Path | None) -> list[str]:
    if file is None:
        return prompts or [""]
    if prompts:
        raise UsageError("--prompt and --file: expected one of them")
    try:
        texts = [line for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--file {file}: cannot be read: {error}") from None
    if not texts:
        raise UsageError(f"--file {file}: has no prompts; expected one a line")
    return texts


def _how(sampling: dict, beams: dict):
    from research.generation import Beams, Sampling

    given = {name: value for name, value in sampling.items() if value is not None}
    if beams["count"] is None:
        if beams["early_stopping"] or beams["length_penalty"] is not None:
            raise UsageError("--length-penalty and --early-stopping: go with --beams")
        return Sampling(**given)
    if given:
        option = next(iter(given)).replace("_", "-")
        raise UsageError(f"--{option}: not with --beams, which draws nothing")
    if beams["count"] < 1:
        raise UsageError(f"--beams {beams['count']}: expected 1 or more")
    penalty = 1.0 if beams["length_penalty"] is None else beams["length_penalty"]
    return Beams(beams["count"], penalty, beams["early_stopping"])


class _Shown:
    """One prompt's text streams; of several, which come at once, each is printed when all before it are."""

    def __init__(self, prompts: list[str]):
        self.streams = len(prompts) == 1
        if self.streams:
            self._out(prompts[0])

    def listen(self, row: int, text: str) -> None:
        if self.streams:
            self._out(text)

    def finish(self, done) -> None:
        if self.streams:
            print()
            return
        for number, one in enumerate(done, 1):
            print(f"── {number}/{len(done)}, {one.tokens} tokens\n{one.prompt}{one.text}")

    def _out(self, text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()


def _fill(judged, prompts: list[str], top: int, json: bool) -> None:
    from research.generation import fill_masks

    found = fill_masks(judged.model, judged.tokenizer, prompts, top)
    if json:
        facts = [
            {
                "prompt": one.prompt,
                "text": one.text,
                "masks": [[candidate._asdict() for candidate in mask] for mask in one.masks],
            }
            for one in found
        ]
        print(json_.dumps(facts, indent=2, ensure_ascii=False))
        return
    for one in found:
        print(one.text)
        for number, mask in enumerate(one.masks, 1):
            width = max(len(candidate.piece) for candidate in mask)
            for rank, candidate in enumerate(mask):
                head = f"[MASK] {number}" if rank == 0 else ""
                print(f"  {head:<10}{candidate.piece:<{width}}  {candidate.probability:.4f}")
