"""The native runner: one batch, prompts in fixed chunks, keys and values in place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import get_ident
from typing import Any

import torch
from torch import Tensor

from minivault.engine import sequence as seq
from minivault.engine.likeliest import Row
from minivault.engine.native import gpt2
from minivault.engine.native.checkpoint import open_checkpoint
from minivault.engine.native.decoder import Decoder
from minivault.engine.native.description import Description
from minivault.engine.native.families import plan_of
from minivault.engine.native.prefix_cache import CHUNK, PrefixCache
from minivault.engine.runner import USUAL_CONTEXT, Dtype


@dataclass(slots=True)
class Slot:
    """Where a sequence's keys and values lie, and how many tokens they stand for.

    `rest` are the last of these, if they have yet to be computed, along with the first draw.
    """

    index: int
    length: int = 0
    rest: tuple[int, ...] = ()
    group: str = ""  # who may reuse its prefilled beginnings


class NativeRunner:
    """Computes the logits of many sequences at once, each with the bits it has alone.

    `reproducible` is what a check at load found on this machine.
    """

    mode = "batched"
    notice: str | None = None

    def __init__(
        self,
        folder: Path,
        *,
        dtype: Dtype,
        threads: int | None = None,
        max_running: int = 32,
        prefix_memory: int = 0,
        context: int | None = None,
        tokens: int | None = None,
        target: tuple[str, ...] | None = None,
    ) -> None:
        """Loads the weights of a folder, or of a GGUF file.

        `context`: tokens of a text at most, None for as many as the model can, up to 8192.
        `tokens`: so many of its ids may be drawn, where its vocabulary is filled up with others.
        `target`: the processor that is compiled for, as the compiler's flags.

        Raises Unsupported for a model of another family, NoKernels where there is no compiler,
        ModelUnusable for files that are wrong.
        """
        description = _describe(folder, context, tokens)
        self._threads = threads or torch.get_num_threads()
        self._thread: int | None = None
        self._prefixes = PrefixCache(prefix_memory)
        self.context_length = description.context
        if context is None and description.context < description.longest:
            self.notice = (
                f"texts may have {description.context} tokens, of the {description.longest} that "
                "this model can; --context allows more, which take more memory"
            )
        self.vocabulary = description.vocabulary
        self.embedded = len(description.tokens)
        with torch.inference_mode():
            self._use_threads()
            self._decoder = Decoder(
                description,
                dtype=dtype,
                threads=self._threads,
                slots=max_running,
                target=target,
            )
        self.kv_bytes_per_token = self._decoder.kv_bytes_per_token
        self.reproducible = self._decoder.reproducible
        self.description: Mapping[str, Any] = {
            "runner": "native",
            "architecture": description.architecture,
            "dtype": dtype,
            "device": "cpu",
            "threads": self._threads,
            "cpu": torch.backends.cpu.get_cpu_capability(),
            "torch": torch.__version__,
            "build": self._decoder.build,
        }

    def reserved_tokens(self, tokens: int) -> int:
        return min(tokens, self.context_length)

    @torch.inference_mode()
    def prefill(self, sequence: seq.Sequence) -> bool:
        """One chunk of the prompt, cut at multiples of 64 tokens.

        What is less than a chunk waits for the first draw, whose step it goes along with.
        """
        self._use_threads()
        slot = self._slot(sequence)
        whole = len(sequence.prompt) - 1
        if 0 < whole - slot.length < CHUNK:
            slot.rest = sequence.prompt[slot.length : whole]
            slot.length = whole
        elif slot.length < whole:
            self._extend(slot, sequence.prompt[:whole])
        return slot.length == whole

    @torch.inference_mode()
    def decode(self, sequences: Sequence[seq.Sequence]) -> Tensor:
        """float32 logits (rows, vocabulary) after each sequence's last token."""
        self._use_threads()
        self._decoder.run(*self._rows(sequences))
        logits = self._decoder.logits(len(sequences))
        self._advance(sequences)
        return logits

    def draw(self, sequences: Sequence[seq.Sequence]) -> tuple[list[int], Row]:
        self._use_threads()
        drawn = self._decoder.draw(*self._rows(sequences), len(sequences))
        self._advance(sequences)
        return drawn

    @torch.inference_mode()
    def losses(self, tokens: Sequence[int]) -> Tensor:
        """-log p of every token but the first, given those before it: float64 (len - 1,).

        For measuring quality; `tokens` fit in the context.
        """
        self._use_threads()
        slot = Slot(self._decoder.cache.take())
        found = []
        try:
            while slot.length < len(tokens) - 1:
                begin = slot.length
                self._extend(slot, tuple(tokens[:-1]))
                wanted = torch.tensor(tokens[begin + 1 : slot.length + 1])
                spread = self._decoder.logits(len(wanted)).double().log_softmax(-1)
                found.append(-spread.gather(1, wanted[:, None])[:, 0])
        finally:
            self._decoder.cache.give_back(slot.index)
        return torch.cat(found)

    @torch.inference_mode()
    def release(self, sequence: seq.Sequence) -> None:
        slot: Slot | None = sequence.cache
        sequence.cache = None
        if slot is not None:
            self._decoder.cache.give_back(slot.index)

    def statistics(self) -> Mapping[str, float]:
        kept = self._prefixes
        return {
            "prefix_hits": kept.hits,
            "prefix_misses": kept.misses,
            "prefix_bytes": kept.bytes,
        }

    def _slot(self, sequence: seq.Sequence) -> Slot:
        """The sequence's slot; a new one begins with what is kept of its prompt."""
        slot: Slot | None = sequence.cache
        if slot is None:
            sequence.cache = slot = Slot(self._decoder.cache.take(), group=sequence.group)
            self._decoder.begin(slot.index, sequence)
            most = len(sequence.prompt) - 1
            for chunk in self._prefixes.find(sequence.prompt, most, slot.group):
                end = slot.length + CHUNK
                self._decoder.cache.part(slot.index, slot.length, end).copy_(chunk)
                slot.length = end
        return slot

    def _rows(self, sequences: Sequence[seq.Sequence]) -> tuple[list[int], list[int], list[int]]:
        """What a step runs: the sequences' last tokens first, then what prompts have left."""
        own: list[Slot] = [each.cache for each in sequences]
        tokens = [each.last_token for each in sequences]
        slots = [slot.index for slot in own]
        positions = [slot.length for slot in own]
        for slot in own:
            if slot.rest:
                begin = slot.length - len(slot.rest)
                if len(tokens) - len(own) + len(slot.rest) > CHUNK:
                    self._decoder.prefill(slot.index, begin, slot.rest)
                else:
                    tokens += slot.rest
                    slots += [slot.index] * len(slot.rest)
                    positions += range(begin, slot.length)
        return tokens, slots, positions

    @staticmethod
    def _advance(sequences: Sequence[seq.Sequence]) -> None:
        """Counts what was computed; whatever raised before this can be computed again."""
        for each in sequences:
            slot: Slot = each.cache
            slot.rest = ()
            slot.length += 1

    def _extend(self, slot: Slot, prompt: tuple[int, ...]) -> None:
        """Computes keys and values up to the next multiple of a chunk, or to the prompt's end."""
        begin = slot.length
        end = min(begin + CHUNK, len(prompt))
        self._decoder.prefill(slot.index, begin, prompt[begin:end])
        slot.length = end
        if end % CHUNK == 0:
            chunk = self._decoder.cache.part(slot.index, begin, end)
            self._prefixes.keep(prompt[:end], chunk, slot.group)

    def _use_threads(self) -> None:
        """OpenMP counts its threads anew in every thread that calls it."""
        if self._thread != get_ident():
            self._thread = get_ident()
            torch.set_num_threads(self._threads)


def _describe(path: Path, context: int | None, tokens: int | None) -> Description:
    """Raises Unsupported, ModelUnusable."""
    source = open_checkpoint(path)
    plan = plan_of(source.config)
    if plan is None:
        found = gpt2.describe(source, context)
    else:
        usual = plan.default_context(USUAL_CONTEXT)
        found = plan.describe(source, min(context, plan.longest) if context else usual)
    return replace(found, head=found.head[:tokens])
