"""How the choices of a request are told: chunks of a stream, or one object at the end.

A chunk depends on the generation's events alone, so that a stream that is resumed or made again
repeats it byte for byte.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from json.encoder import encode_basestring_ascii
from typing import Any

from minivault.generations import Event, Follower, Generation, batches
from minivault.generations.generation_id import engine_hash
from minivault.schemas import FinishReason
from minivault.web.openai.ending import DONE, failure_of, finish_of, ours_of, usage_of
from minivault.web.openai.parts import (
    Answer,
    delta_of,
    finish_with_calls,
    slices,
    whole_message,
)
from minivault.web.openai.shapes import SHAPES, Shape

_MARK = "\ue000"  # stands for the text in a chunk that is written once


def data(value: dict[str, Any], id: str | None = None) -> bytes:
    """One block. Its data is one line of ASCII, and an id stands in the same block."""
    line = f"data: {json.dumps(value, separators=(',', ':'))}\n\n"
    return (f"id: {id}\n{line}" if id else line).encode("ascii")


@dataclass(frozen=True)
class Told:
    """The followers of all choices, in the order of the choices, and what was asked of the answer.

    `skip`: the number of the last event that the reader of a single choice has. `answers`: what
    takes each choice apart, None for plain text.
    """

    followers: Sequence[Follower]
    wants_usage: bool = False
    echo: bool = False
    skip: int = -1
    answers: Sequence[Answer | None] = ()
    _offsets: dict[int, tuple[int, int]] = field(default_factory=dict)

    @property
    def first(self) -> Generation:
        return self.followers[0].generation

    @cached_property
    def shape(self) -> Shape:
        call = self.first.call
        assert call is not None
        return SHAPES[call.door]

    @property
    def id(self) -> str:
        return self.shape.prefix + self.first.id

    def head(self, kind: str) -> dict[str, Any]:
        """What stands in every object."""
        return {
            "id": self.id,
            "object": kind,
            "created": self.first.created,
            "model": self.first.info.name,
            "system_fingerprint": fingerprint(self.first),
        }

    # ---- a stream -------------------------------------------------------------------------------

    async def chunks(self) -> AsyncIterator[bytes]:
        """The whole stream. Choices are opened in order, then each goes on as it can."""
        waiting = set(range(len(self.followers)))
        request = self.first.request
        is_scored = self.echo and request is not None and request.params.prompt_logprobs
        if not is_scored:  # else a prompt is told once its tokens have their scores
            waiting.clear()
            if openings := b"".join(map(self._opening, range(len(self.followers)))):
                yield openings
        left = len(self.followers)
        async for index, batch in batches(self.followers):
            answer = self._answer(index)
            if answer:
                await answer.catch_up(batch[0][0] - 1)
            async for events in slices(batch):
                if answer:
                    await answer.ready(events)
                parts = []
                for number, event in events:
                    if index in waiting and event.name not in ("start", "queued"):
                        waiting.discard(index)
                        parts.append(self._opening(index))
                    left -= event.name in ("done", "failed", "stopped", "gone")
                    parts.append(self._block(index, number, event, last=left == 0))
                    if failure_of(event):
                        yield b"".join([*parts, DONE])
                        return
                yield b"".join(parts)
        yield DONE

    def keep_alive(self) -> bytes:
        """An empty delta: the only one that no client dies of, and that all of them count."""
        return self._chunk(0, self.shape.piece(""))

    def _opening(self, index: int) -> bytes:
        generation = self.followers[index].generation
        request = generation.request
        echo = str(request.prompt) if self.echo and request else None
        part = self.shape.opening(echo) if self.skip < 0 else None
        if part and self.echo and generation.text.scores:
            part["logprobs"] = self.shape.logprobs(generation.text.scores, 0)
        return self._chunk(index, part, id=self._id(generation, 0)) if part else b""

    def _block(self, index: int, number: int, event: Event, *, last: bool) -> bytes:
        generation = self.followers[index].generation
        id = self._id(generation, number) if event.numbered else None
        if event.name is None:
            return self._piece(index, number, event, id)
        if event.name in ("start", "queued"):
            return b""
        if failure := failure_of(event):
            return data(failure | {"minivault": self._ours(generation)})
        part, finish = self.shape.end(), finish_of(event)
        if answer := self._answer(index):
            part = {"delta": delta_of(generation, answer.end(number))}
            finish = finish_with_calls(finish, answer.message)
        ours = self.ours() if last else None
        if not last or not self.wants_usage:
            return self._chunk(index, part, finish=finish, ours=ours, id=id)
        usage = self.head(self.shape.chunk) | {"choices": [], "usage": self.usage()}
        end = self._chunk(index, part, finish=finish)
        return end + data(usage | {"minivault": ours}, id)

    def _piece(self, index: int, number: int, event: Event, id: str | None) -> bytes:
        if answer := self._answer(index):
            delta = delta_of(self.followers[index].generation, answer.at(number))
            entries = event.data.get("logprobs")
            part = {"delta": delta} | (
                {"logprobs": self.shape.logprobs(entries, 0)} if entries else {}
            )
            return self._chunk(index, part, id=id) if delta or entries else b""
        if entries := event.data.get("logprobs"):
            logprobs = self.shape.logprobs(entries, self._offset(index, number))
            part = self.shape.piece(event.text) | {"logprobs": logprobs}
            return self._chunk(index, part, id=id)
        before, after = self._frames[index]
        block = before + encode_basestring_ascii(event.text) + after
        return (f"id: {id}\n{block}" if id else block).encode("ascii")

    def _answer(self, index: int) -> Answer | None:
        return self.answers[index] if self.answers else None

    def _offset(self, index: int, number: int) -> int:
        """Where the text of an event begins, in characters from the prompt's beginning."""
        generation = self.followers[index].generation
        known, offset = self._offsets.get(index, (0, self._prompt_length(generation)))
        offset += sum(len(each.text) for each in generation.events[known:number])
        self._offsets[index] = number, offset
        return offset

    @cached_property
    def _frames(self) -> list[tuple[str, str]]:
        """What stands before and after the text of a piece, for each choice."""
        mark = json.dumps(_MARK)
        blocks = [
            self._chunk(index, self.shape.piece(_MARK)).decode("ascii").partition(mark)
            for index in range(len(self.followers))
        ]
        return [(before, after) for before, _, after in blocks]

    def _chunk(
        self,
        index: int,
        part: dict[str, Any],
        *,
        finish: str | None = None,
        ours: dict[str, Any] | None = None,
        id: str | None = None,
    ) -> bytes:
        choice = {"index": self._place(index), **part}
        choice.setdefault("logprobs", None)
        choice["finish_reason"] = finish
        chunk = self.head(self.shape.chunk) | {"choices": [choice]}
        chunk |= {"usage": None} if self.wants_usage else {}
        return data(chunk | ({"minivault": ours} if ours else {}), id)

    def _id(self, generation: Generation, number: int) -> str | None:
        """Only the stream of a single choice can be resumed from one place."""
        return f"{generation.id}.{number}" if len(self.followers) == 1 else None

    # ---- one object -----------------------------------------------------------------------------

    def whole(self) -> dict[str, Any]:
        """The answer, once all choices have ended well."""
        answer = self.head(self.shape.whole)
        answer["choices"] = [self._whole_choice(index) for index in range(len(self.followers))]
        return answer | {"usage": self.usage(), "minivault": self.ours()}

    def _whole_choice(self, index: int) -> dict[str, Any]:
        generation = self.followers[index].generation
        request = generation.request
        echo = str(request.prompt) if self.echo and request else ""
        logprobs = None
        if request and (request.params.logprobs or request.params.top_logprobs):
            scores = generation.text.scores if self.echo else []
            offset = 0 if scores else self._prompt_length(generation)
            logprobs = self.shape.logprobs([*scores, *generation.text.logprobs], offset)
        whole, finish = (
            self.shape.all(echo + generation.text.said),
            finish_of(generation.events[-1]),
        )
        if answer := self._answer(index):
            answer.end(generation.last)
            whole = {"message": whole_message(answer.message)}
            finish = finish_with_calls(finish, answer.message)
        return {
            "index": self._place(index),
            **whole,
            "logprobs": logprobs,
            "finish_reason": finish,
        }

    # ---- both -----------------------------------------------------------------------------------

    def usage(self) -> dict[str, Any]:
        """Tokens of all choices; those of one prompt count once."""
        return usage_of([each.generation for each in self.followers])

    def ours(self) -> dict[str, Any]:
        """What only we tell; of several choices each apart."""
        if len(self.followers) == 1:
            return self._ours(self.first)
        return {"choices": [self._ours(each.generation) for each in self.followers]}

    def _ours(self, generation: Generation) -> dict[str, Any]:
        return ours_of(generation, chat=self.shape.chunk == "chat.completion.chunk")

    def _place(self, index: int) -> int:
        """The number of a choice; one that is told alone may be another than the first."""
        call = self.followers[index].generation.call
        return call.index if call else index

    def _prompt_length(self, generation: Generation) -> int:
        return len(generation.request.prompt) if generation.request else 0


def fingerprint(generation: Generation) -> str:
    """Changes exactly if the bytes of a text may."""
    return f"fp_{engine_hash(generation.info).hex()}"


def ended_badly(told: Told) -> Generation | None:
    """The first of the ended choices that has no whole text."""
    good = (FinishReason.STOP, FinishReason.LENGTH)
    generations = [each.generation for each in told.followers]
    return next(
        (each for each in generations if each.ended and each.finish_reason not in good), None
    )
