"""Train a small GPT-2 from scratch: `python -m training.train --corpus FOLDER --out FOLDER`.

With `--steps` the same seed gives the same model on the same machine; with `--minutes` alone, how
far it comes depends on the machine's speed.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import GPT2LMHeadModel

from training.corpus import END_OF_TEXT, crops, encode, hold_out, read_chapters, windows
from training.model import loss, new_model, save_model
from training.optimizer import Optimizers
from training.recipe import Recipe
from training.tokenizer import save_tokenizer, train_tokenizer


@dataclass(frozen=True, slots=True)
class Moment:
    """Where a training stands: `progress` is 0 at its begin and 1 at its end."""

    step: int
    progress: float
    seconds: float


class Training:
    """One training: `run` once, then `save`."""

    def __init__(self, corpus: Path, recipe: Recipe, *, compiled: bool = False) -> None:
        """Reads the corpus and trains the tokenizer. Raises ValueError if there is too little."""
        self.recipe = recipe
        chapters, self.held_out = hold_out(read_chapters(corpus), recipe.held_out, seed=recipe.seed)
        self.tokenizer: Tokenizer = train_tokenizer(chapters, size=recipe.vocabulary)
        self.ids = encode(chapters, self.tokenizer)
        if len(self.ids) <= recipe.context:
            raise ValueError(f"{len(self.ids)} tokens are less than one context; add text")
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model: GPT2LMHeadModel = new_model(
            recipe,
            vocabulary=self.tokenizer.get_vocab_size(),
            end=self.tokenizer.token_to_id(END_OF_TEXT),
        )
        torch.nn.Module.to(self.model, self.device)
        self._forward = torch.compile(self.model) if compiled else self.model
        self.tokens_seen = 0

    def run(self) -> None:
        """Train to the end; Ctrl-C ends it early, and what was learned can still be saved."""
        optimizers = Optimizers(self.model, self.recipe)
        generator = torch.Generator().manual_seed(self.recipe.seed)
        try:
            for moment in self._moments():
                value = self._step(moment, optimizers, generator)
                if moment.step % self.recipe.report_every == 0:
                    _report(moment, value)
        except KeyboardInterrupt:
            print("stopped early")

    def held_out_loss(self) -> float:
        """Mean nats a token of the held-out chapters, in windows of one context."""
        ids = encode(self.held_out, self.tokenizer)
        length = min(self.recipe.context, len(ids))
        total, count = 0.0, 0
        with torch.inference_mode():
            for row in windows(ids, length):
                total += loss(self.model, row[None].to(self.device)).item()
                count += 1
        return total / count

    def save(self, folder: Path) -> None:
        """Write a folder that transformers loads, the held-out text, and how it was made."""
        folder.mkdir(parents=True, exist_ok=True)
        save_model(self.model, folder)
        save_tokenizer(self.tokenizer, folder, context=self.recipe.context)
        text = "".join(f"{chapter}\n{END_OF_TEXT}\n" for chapter in self.held_out)
        (folder / "valid.txt").write_text(text, encoding="utf-8")
        value = self.held_out_loss()
        made = {
            "recipe": asdict(self.recipe),
            "training_tokens": len(self.ids),
            "tokens_seen": self.tokens_seen,
            "held_out_loss": value,
        }
        (folder / "training.json").write_text(json.dumps(made, indent=2) + "\n", encoding="utf-8")
        print(f"held-out loss {value:.3f}, perplexity {math.exp(value):.2f}; saved in {folder}")

    def _moments(self) -> Iterator[Moment]:
        """Every step with the progress at its begin, until the steps or the minutes are over."""
        recipe, begin, step = self.recipe, time.monotonic(), 0
        while True:
            seconds = time.monotonic() - begin
            progress = step / recipe.steps if recipe.steps else seconds / (60 * recipe.minutes)
            if progress >= 1:
                return
            yield Moment(step, progress, seconds)
            step += 1

    def _step(self, moment: Moment, optimizers: Optimizers, generator: torch.Generator) -> float:
        """One step; the loss before it."""
        length = self.recipe.crop_length(moment.progress)
        count = max(1, self.recipe.batch_tokens // length)
        ids = crops(self.ids, count, length, generator=generator).to(self.device)
        with self._autocast():
            value = loss(self._forward, ids)
        value.backward()  # type: ignore[no-untyped-call]  # torch has no types here
        optimizers.step(self.recipe.rate(moment.step, moment.progress))
        self.tokens_seen += ids.numel()
        return value.item()

    def _autocast(self) -> AbstractContextManager[object]:
        """bfloat16 for the multiplications where the machine has it; weights stay in fp32."""
        if self.device.type == "cpu" and not _multiplies_bfloat16():
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)


def _multiplies_bfloat16() -> bool:
    found = torch.cpu.get_capabilities()
    return any(found.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def _report(moment: Moment, value: float) -> None:
    print(
        f"step {moment.step:6d}  {moment.seconds:7.0f} s  {moment.progress:4.0%}  loss {value:.3f}",
        flush=True,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line; every number of the recipe is an option."""
    parser = argparse.ArgumentParser(prog="python -m training.train", description=__doc__)
    parser.add_argument("--corpus", type=Path, required=True, help="Folder of .txt and .txt.xz.")
    parser.add_argument("--out", type=Path, required=True, help="Folder for the model.")
    parser.add_argument(
        "--compile", action="store_true", help="Use torch.compile (needs a C++ compiler on CPUs)."
    )
    for number in fields(Recipe):
        parser.add_argument(
            "--" + number.name.replace("_", "-"),
            type=type(number.default),
            default=number.default,
            help=f"{number.metadata['help']} Default: {number.default}.",
        )
    options = parser.parse_args(arguments)
    recipe = Recipe(**{number.name: getattr(options, number.name) for number in fields(Recipe)})
    try:
        training = Training(options.corpus, recipe, compiled=options.compile)
    except ValueError as error:
        parser.exit(2, f"error: {error}\n")
    print(f"{len(training.ids)} tokens, {training.model.num_parameters()} parameters")
    training.run()
    training.save(options.out)


if __name__ == "__main__":
    main()
