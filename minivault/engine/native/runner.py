"""The native runner: one batch, prompts in fixed chunks, keys and values in place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from minivault.engine import sequence as seq
from minivault.engine.likeliest import Row
from minivault.engine.native.arithmetic import NOT_PORTABLE, PORTABLE
from minivault.engine.native.checkpoint import open_checkpoint
from minivault.engine.native.decoder import Decoder
from minivault.engine.native.models import describe
from minivault.engine.native.numbers import Floats
from minivault.engine.native.prefix_cache import CHUNK, PrefixCache
from minivault.engine.native.slot import Slot
from minivault.engine.processor import available_cores
from minivault.engine.runner import Dtype
from minivault.engine.sampler import redrawn
from minivault.system import has_large_pages

ALONE = 4
"""Chunks that are prefilled at once where no other sequence waits for its turn."""

ROW_COSTS: tuple[float, ...] = (1, 1.09, 1.18, 1.27, 1.36, 1.5)
"""What a step of 1, 2 and more rows takes beside one of a single row. Rounded up: of SmolLM2 on two
threads a second row costs 2 % with int8, 3 % with bfloat16 and 9 % with Q4_1, more where others use
the processor; a table for each width would gain 1 % more. Not measured at load, so that a text's
guesses, and their counts, are the same again."""

_GUESSED = 2  # texts at once: of more, the one that ends last waits longer than its guesses save

_MOST_IN_LARGE_PAGES = 0.9  # of the weights; nothing is lost by the rest


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
        dtype: Dtype | Literal["file"],
        threads: int | None = None,
        max_running: int = 32,
        prefix_memory: int = 0,
        context: int | None = None,
        tokens: int | None = None,
        speculates: bool = True,
        target: tuple[str, ...] | None = None,
    ) -> None:
        """Loads the weights of a folder, or of a GGUF file; `file` keeps its own widths.

        `context`: tokens of a text at most, None for as many as the model can, up to 8192.
        `tokens`: so many of its ids may be drawn, where its vocabulary is filled up with others.
        `speculates`: texts are guessed ahead where rows are free; their bytes stay the same.
        `target`: see `compiler.build`.

        Raises Unsupported for a model of another family, NoKernels where there is no compiler,
        ModelUnusable for files that are wrong.
        """
        source = open_checkpoint(folder, dtype)
        description = describe(source, context, tokens)
        self._open = 0
        self._prompts: set[seq.Sequence] = set()  # whose are under way
        self._row_costs = ROW_COSTS if speculates else ()
        self._drafted = self._accepted = 0
        self.context_length = description.context
        if context is None and description.context < description.longest:
            self.notice = (
                f"texts may have {description.context} tokens, of the {description.longest} that "
                "this model can; --context allows more, which take more memory"
            )
        self.vocabulary = description.vocabulary
        self.embedded = len(description.tokens)
        self._decoder = Decoder(
            description,
            dtype=source.dtype,
            threads=threads or available_cores(),
            slots=max_running,
            target=target,
        )
        self._prefixes = PrefixCache(prefix_memory, self._decoder.cache)
        self.kv_bytes_per_token = self._decoder.kv_bytes_per_token
        self.reproducible = self._decoder.reproducible
        arithmetic = self._decoder.arithmetic
        self.description: Mapping[str, Any] = {
            "runner": "native",
            "architecture": description.architecture,
            "dtype": source.widths,
            "device": "cpu",
            "arithmetic": arithmetic,
            **({} if arithmetic in PORTABLE else {"build": self._decoder.build}),
        }
        own = None if arithmetic in PORTABLE else NOT_PORTABLE
        self.notice = "; ".join(filter(None, (self.notice, own, self._decoder.notice))) or None

    def reserved_tokens(self, tokens: int) -> int:
        return min(tokens, self.context_length)

    def prefill(self, sequence: seq.Sequence) -> bool:
        """The next chunks of the prompt, cut at multiples of 64 tokens: four where nobody waits.

        What is less than a chunk waits for the first draw, whose step it goes along with.
        """
        slot = self._slot(sequence)
        whole = len(sequence.prompt) - 1
        if 0 < whole - slot.length < CHUNK:
            slot.rest = sequence.prompt[slot.length : whole]
            slot.length = whole
        elif slot.length < whole:
            begin = slot.length
            self._extend(slot, sequence.prompt[:whole], ALONE if self._open == 1 else 1)
            self._prefixes.keep_chunks(slot, sequence, begin)
        if slot.length < whole:
            return False
        self._prompts.discard(sequence)
        return True

    def decode(self, sequences: Sequence[seq.Sequence]) -> Floats:
        """float32 logits (rows, vocabulary) after each sequence's last token."""
        self._decoder.run(*self._rows(sequences))
        logits = self._decoder.logits(len(sequences))
        self._advance(sequences)
        return logits

    def draw(self, sequences: Sequence[seq.Sequence]) -> tuple[list[int], list[Row]]:
        """See the seam. Where rows are free, what a text may say next goes along as if it were.

        A row's draw depends on the tokens up to it alone. So where these were guessed rightly, it
        is the draw of the step to come, which then need not be computed.
        """
        left = [each for each in sequences if not each.cache.ahead]
        drafts = self._drafts(left)
        if len(left) == len(sequences) and not any(drafts):
            tokens, logits = self._decoder.draw(*self._rows(sequences), len(sequences))
            rows = list(logits)
        else:
            if left:
                self._draw_ahead(left, drafts)
            ahead = [each.cache.ahead[0] for each in sequences]
            tokens, rows = [token for token, _ in ahead], [row for _, row in ahead]
        drawn = redrawn(tokens, rows, sequences)  # a constraint may raise: nobody has gone on yet
        self._advance(sequences)
        return drawn, rows

    def is_ahead(self, sequence: seq.Sequence) -> bool:
        return bool(sequence.cache.ahead)

    def log_probabilities(self, tokens: Sequence[int]) -> NDArray[np.float32]:
        """Of every token of the vocabulary after each of these but the last: (len - 1, vocabulary).

        For measuring quality; `tokens` fit in the context.
        """
        slot = Slot(self._prefixes.take())
        found = []
        try:
            while slot.length < len(tokens) - 1:
                begin = slot.length
                self._extend(slot, tuple(tokens[:-1]))
                logits = self._decoder.logits(slot.length - begin)
                logits = logits - logits.max(1, keepdims=True)
                found.append(logits - np.log(np.exp(logits).sum(1, keepdims=True)))
        finally:
            self._decoder.cache.give_back(slot.index)
        return np.concatenate(found)

    def release(self, sequence: seq.Sequence) -> None:
        slot: Slot | None = sequence.cache
        sequence.cache = None
        self._prompts.discard(sequence)
        if slot is None:
            return
        self._open -= 1
        self._prefixes.end(slot, sequence)

    def lacks(self) -> Iterator[str]:
        share = self._decoder.large_pages
        if share is not None and share < _MOST_IN_LARGE_PAGES and has_large_pages():
            yield (
                f"{share:.0%} of the weights lie in large pages of memory, though this system has "
                "them: they are read more slowly, and texts are made so. Its free memory was in "
                "pieces (`sysctl -w vm.compact_memory=1`, then start anew), or this process may "
                "have none (THP_enabled in its /proc/…/status)"
            )

    def statistics(self) -> Mapping[str, float]:
        kept = self._prefixes
        share = self._decoder.large_pages
        return ({} if share is None else {"large_pages": share}) | {
            "prefix_hits": kept.hits,
            "prefix_misses": kept.misses,
            "prefix_bytes": kept.bytes,
            "drafted": self._drafted,
            "accepted": self._accepted,
        }

    def _slot(self, sequence: seq.Sequence) -> Slot:
        """The sequence's slot; a new one begins with what is kept of its prompt."""
        slot: Slot | None = sequence.cache
        if slot is None:
            sequence.cache = slot = self._prefixes.begin(sequence.group, sequence.prompt)
            self._open += 1
            self._prompts.add(sequence)
            self._decoder.begin(slot.index, sequence)
            sequence.reused = slot.length
        return slot

    def _rows(
        self, sequences: Sequence[seq.Sequence], drafts: Sequence[Sequence[int]] | None = None
    ) -> tuple[list[int], list[int], list[int]]:
        """What a step runs: each one's last token and guesses, then what prompts have left."""
        tokens: list[int] = []
        slots: list[int] = []
        positions: list[int] = []
        for each, guessed in zip(sequences, drafts or [()] * len(sequences), strict=True):
            slot: Slot = each.cache
            tokens += [each.last_token, *guessed]
            slots += [slot.index] * (1 + len(guessed))
            positions += range(slot.length, slot.length + 1 + len(guessed))
        drawn = len(tokens)
        for each in sequences:
            slot = each.cache
            if slot.rest:
                begin = slot.length - len(slot.rest)
                if len(tokens) - drawn + len(slot.rest) > CHUNK:
                    self._decoder.prefill(slot.index, begin, slot.rest)
                else:
                    tokens += slot.rest
                    slots += [slot.index] * len(slot.rest)
                    positions += range(begin, slot.length)
        return tokens, slots, positions

    def _drafts(self, sequences: Sequence[seq.Sequence]) -> list[list[int]]:
        """Guesses for each that pay; none while somebody's prompt is under way."""
        rows = len(sequences)
        costs = self._row_costs[rows - 1 :] if rows <= _GUESSED else ()
        if not costs or self._prompts or any(each.cache.rest for each in sequences):
            return [[] for _ in sequences]
        tokens = 2 * rows - 1  # both wait for one's guess, which has to bring more then
        drafts: list[list[int]] = []
        for each in sequences:
            most = self._left(each) if each.is_plain else 0
            drafts.append(each.cache.guess(each, costs[:most], tokens))
            costs = costs[len(drafts[-1]) :]
        return drafts

    def _left(self, sequence: seq.Sequence) -> int:
        """How many tokens its text may still get."""
        slot: Slot = sequence.cache
        asked = sequence.params.max_tokens - len(sequence.generated)
        return min(asked, self.context_length - slot.length)

    def _draw_ahead(self, left: Sequence[seq.Sequence], drafts: Sequence[Sequence[int]]) -> None:
        """A step that draws after each one's last token and after each of its guesses."""
        drawn, logits = self._decoder.draw(
            *self._rows(left, drafts), len(left) + sum(map(len, drafts))
        )
        at = 0
        for each, guessed in zip(left, drafts, strict=True):
            end = at + len(guessed) + 1
            is_read = each.asks_logprobs or not each.is_plain
            rows = [row.copy() if is_read else row[:0] for row in logits[at:end]]
            right = each.cache.look_ahead(drawn[at:end], rows, guessed)
            each.drafted += len(guessed)
            each.accepted += right
            self._drafted += len(guessed)
            self._accepted += right
            at = end

    def _advance(self, sequences: Sequence[seq.Sequence]) -> None:
        """Counts what was computed; whatever raised before this can be computed again."""
        for each in sequences:
            slot: Slot = each.cache
            begin = slot.length - len(slot.rest)
            slot.rest = ()
            slot.length += 1
            if slot.ahead:
                slot.ahead.popleft()
            self._prefixes.keep_chunks(slot, each, begin)

    def _extend(self, slot: Slot, prompt: tuple[int, ...], chunks: int = 1) -> None:
        """Computes keys and values up to the end of so many chunks, or of the prompt."""
        begin = slot.length
        end = min(begin // CHUNK * CHUNK + chunks * CHUNK, len(prompt))
        self._decoder.prefill(slot.index, begin, prompt[begin:end])
        slot.length = end
