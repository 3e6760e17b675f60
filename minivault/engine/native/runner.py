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
from minivault.engine.native.prefix_cache import CHUNK, PrefixCache, first_key, next_key
from minivault.engine.runner import USUAL_CONTEXT, Dtype

ALONE = 4
"""Chunks that are prefilled at once where no other sequence waits for its turn."""


@dataclass(slots=True)
class Slot:
    """Where a sequence's keys and values lie, and how many tokens they stand for.

    `rest` are the last of these, if they have yet to be computed, along with the first draw. `key`
    stands for all chunks that are whole, and for who may reuse them.
    """

    index: int
    length: int = 0
    rest: tuple[int, ...] = ()
    key: bytes = b""


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
        self._open = 0
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
        """The next chunks of the prompt, cut at multiples of 64 tokens: four where nobody waits.

        What is less than a chunk waits for the first draw, whose step it goes along with.
        """
        self._use_threads()
        slot = self._slot(sequence)
        whole = len(sequence.prompt) - 1
        if 0 < whole - slot.length < CHUNK:
            slot.rest = sequence.prompt[slot.length : whole]
            slot.length = whole
        elif slot.length < whole:
            chunks = ALONE if self._open == 1 else 1
            self._extend(slot, sequence.prompt[:whole], chunks)
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
            self._open -= 1
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
            index = self._decoder.cache.take()
            sequence.cache = slot = Slot(index, key=first_key(sequence.group))
            self._open += 1
            self._decoder.begin(slot.index, sequence)
            self._reuse(slot, sequence.prompt)
        return slot

    def _reuse(self, slot: Slot, prompt: tuple[int, ...]) -> None:
        keys = [slot.key]
        for end in range(CHUNK, len(prompt), CHUNK):
            keys.append(next_key(keys[-1], prompt[end - CHUNK : end]))
        for chunk in self._prefixes.find(keys[1:]):
            end = slot.length + CHUNK
            self._decoder.cache.part(slot.index, slot.length, end).copy_(chunk)
            slot.length = end
        slot.key = keys[slot.length // CHUNK]

    def _keep(self, slot: Slot, end: int, chunk: Sequence[int]) -> None:
        """A chunk that has become whole, of these tokens."""
        slot.key = next_key(slot.key, chunk)
        self._prefixes.keep(slot.key, self._decoder.cache.part(slot.index, end - CHUNK, end))

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

    def _advance(self, sequences: Sequence[seq.Sequence]) -> None:
        """Counts what was computed; whatever raised before this can be computed again."""
        for each in sequences:
            slot: Slot = each.cache
            slot.rest = ()
            slot.length += 1
            if slot.length % CHUNK == 0:
                self._keep(slot, slot.length, each.part(slot.length - CHUNK, slot.length))

    def _extend(self, slot: Slot, prompt: tuple[int, ...], chunks: int = 1) -> None:
        """Computes keys and values of so many chunks, or up to the prompt's end."""
        begin = slot.length
        end = min(begin + chunks * CHUNK, len(prompt))
        self._decoder.prefill(slot.index, begin, prompt[begin:end])
        slot.length = end
        for chunk in range(begin + CHUNK, end + 1, CHUNK):
            self._keep(slot, chunk, prompt[chunk - CHUNK : chunk])

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
