"""One decoding step: logits, tokens, text, and why a sequence ends."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from minivault.engine import sampler
from minivault.engine.runners.base import Runner
from minivault.engine.sequence import Output, TokenChoice
from minivault.engine.sequence import Sequence as EngineSequence
from minivault.schemas import FinishReason


class Step:
    """Turns running sequences into outputs. An exception ends only those it concerns."""

    def __init__(self, runner: Runner, end_ids: frozenset[int]) -> None:
        self._runner = runner
        self._end_ids = end_ids

    def decode(self, running: Sequence[EngineSequence]) -> list[Output]:
        """One token for each, in the given order."""
        try:
            logits = self._runner.decode(running).numpy(force=True)
        except Exception as error:  # noqa: BLE001 (whatever a runner raises concerns this batch)
            return self._apart(running, error)
        return [self._drawn(each, logits[row : row + 1]) for row, each in enumerate(running)]

    def ended(self, sequence: EngineSequence, reason: FinishReason) -> Output:
        """The last output of a sequence that gets no further token."""
        try:
            return Output(sequence, self._rest(sequence), finish=reason)
        except Exception as error:  # noqa: BLE001 (the text stream is the sequence's own)
            return self.failed(sequence, error)

    def failed(self, sequence: EngineSequence, error: Exception) -> Output:
        """The last output of a sequence that something went wrong with; what was held is said."""
        try:
            text = self._rest(sequence)
        except Exception:  # noqa: BLE001 (it may be what went wrong)
            text = ""
        return Output(sequence, text, finish=FinishReason.ERROR, error=error)

    def _apart(self, running: Sequence[EngineSequence], error: Exception) -> list[Output]:
        """A batch failed as a whole; nobody knows how far its caches got, so all of it ends."""
        return [self.failed(each, error) for each in running]

    def _drawn(self, sequence: EngineSequence, logits: sampler.Row) -> Output:
        """Draws one token from logits (1, vocabulary)."""
        try:
            _refuse_nan(logits)
            original = logits[0].copy() if sequence.params.top_logprobs else logits[0]
            token = sampler.sample(logits, [sequence])[0]
            if token in self._end_ids:
                return self.ended(sequence, FinishReason.STOP)
            return self._said(sequence, token, original)
        except Exception as error:  # noqa: BLE001 (concerns this sequence alone)
            return self.failed(sequence, error)

    def _said(self, sequence: EngineSequence, token: int, original: sampler.Row) -> Output:
        count = sequence.params.top_logprobs
        choice: TokenChoice | None = sampler.choice(original, token, count) if count else None
        sequence.generated.append(token)
        text = sequence.text.push(token)
        reason = self._reason(sequence)
        if reason is FinishReason.LENGTH:
            text += sequence.text.flush()
        tail = "" if reason else sequence.text.held
        return Output(sequence, text, token, choice, reason, tail=tail)

    def _reason(self, sequence: EngineSequence) -> FinishReason | None:
        if sequence.text.stopped:
            return FinishReason.STOP
        made, held = len(sequence.generated), len(sequence.prompt) + len(sequence.generated)
        if made >= sequence.params.max_tokens or held >= self._runner.context_length:
            return FinishReason.LENGTH
        return None

    @staticmethod
    def _rest(sequence: EngineSequence) -> str:
        return "" if sequence.text.stopped else sequence.text.flush()


def _refuse_nan(logits: sampler.Row) -> None:
    if np.isnan(logits.max()):
        raise ArithmeticError("the model computed no numbers")
