"""One decoding step: logits, tokens, text, and why a sequence ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from minivault.engine import sampler
from minivault.engine.likeliest import Row
from minivault.engine.runner import Runner
from minivault.engine.sequence import Output
from minivault.engine.sequence import Sequence as EngineSequence
from minivault.errors import contained
from minivault.schemas import FinishReason


class OutputProcessor:
    """Turns running sequences into outputs. Whatever one of them raises ends that one alone."""

    def __init__(self, runner: Runner, end_ids: frozenset[int]) -> None:
        self._runner = runner
        self._end_ids = end_ids

    def decode(self, running: Sequence[EngineSequence]) -> list[Output]:
        """One token for each of these, which are ready, then what of them is drawn already; but
        first come those that cannot go on.

        All at once: else one that is ahead would wait at every step for those that are not.
        """
        lost, left = [], []
        for each in running:
            if each.mask and (error := each.mask.exception()):
                lost.append(self.failed(each, error))
            else:
                left.append(each)
        said = outputs = self._decode(left)
        is_ahead = self._runner.is_ahead
        while ahead := [one.sequence for one in said if not one.finish and is_ahead(one.sequence)]:
            said = self._decode(ahead)
            outputs = outputs + said
        return lost + outputs

    def ended(self, sequence: EngineSequence, reason: FinishReason) -> Output:
        """The last output of a sequence that gets no further token."""
        try:
            return Output(sequence, self._rest(sequence), finish=reason)
        except BaseException as error:  # noqa: BLE001 (the text stream is the sequence's own)
            return self.failed(sequence, error)

    def failed(self, sequence: EngineSequence, error: BaseException) -> Output:
        """The last output of a sequence that something went wrong with; what was held is said."""
        try:
            text = self._rest(sequence)
        except BaseException as again:  # noqa: BLE001 (it may be what went wrong)
            contained(again)
            text = ""
        return Output(sequence, text, finish=FinishReason.ERROR, error=contained(error))

    def _decode(self, running: Sequence[EngineSequence]) -> list[Output]:
        """Where a batch fails as a whole, the runner has gone on with none of it (see the seam),
        and those that are not to blame get their token alone.
        """
        if self._runner.mode == "batched" and len(running) > 1:
            try:
                tokens, logits = self._runner.draw(running)
            except BaseException as error:  # noqa: BLE001 (a runner raises anything)
                contained(error)
            else:
                return list(map(self._drawn, running, tokens, logits))
        return list(map(self._alone, running))

    def _alone(self, sequence: EngineSequence) -> Output:
        try:
            (token,), logits = self._runner.draw([sequence])
        except BaseException as error:  # noqa: BLE001 (a runner raises anything)
            return self.failed(sequence, error)
        return self._drawn(sequence, token, logits[0])

    def _drawn(self, sequence: EngineSequence, token: int, logits: Row) -> Output:
        """What a token means that was drawn from these logits."""
        try:
            if token < 0:
                raise ArithmeticError("the model computed no numbers")
            if len(sequence.generated) < len(sequence.forced):
                return self._scored(sequence, logits)
            params, text, constraint = sequence.params, sequence.text, sequence.constraint
            asked = sequence.asks_logprobs
            choice = sampler.choice(logits, token, params.top_logprobs) if asked else None
            if token in self._end_ids:
                ended = self.ended(sequence, FinishReason.STOP)
                # Whoever scores a prompt counts on one more entry than it has tokens.
                is_last_score = params.prompt_logprobs and not sequence.own
                return replace(ended, score=choice) if is_last_score else ended
            if constraint:
                constraint.accept(token)
            sequence.generated.append(token)
            said = text.push(token)
            if text.stopped:
                return Output(sequence, said, token, choice, FinishReason.STOP)
            made, room = len(sequence.generated), self._runner.context_length - len(sequence.prompt)
            if constraint and constraint.is_complete:
                reason = FinishReason.STOP
            elif made >= min(params.max_tokens + len(sequence.forced), room):
                reason = FinishReason.LENGTH
            else:
                return Output(sequence, said, token, choice, tail=text.held)
            return Output(sequence, said + text.flush(), token, choice, reason)
        except BaseException as error:  # noqa: BLE001 (concerns this sequence alone)
            return self.failed(sequence, error)

    def _scored(self, sequence: EngineSequence, logits: Row) -> Output:
        """The next token of a prompt that is scored, instead of the one that was drawn."""
        token = sequence.forced[len(sequence.generated)]
        count = sequence.params.top_logprobs
        score = sampler.choice(logits, token, count) if sequence.asks_logprobs else None
        sequence.generated.append(token)
        is_last = len(sequence.generated) == len(sequence.forced)
        done = is_last and sequence.params.max_tokens == 0
        return Output(sequence, score=score, finish=FinishReason.LENGTH if done else None)

    @staticmethod
    def _rest(sequence: EngineSequence) -> str:
        return "" if sequence.text.stopped else sequence.text.flush()
