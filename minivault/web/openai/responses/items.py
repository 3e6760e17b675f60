"""The items of a response that was taken apart: thoughts, messages, calls; and their events."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from minivault.backends.base import Part
from minivault.generations import Generation
from minivault.web.openai.parts import call_id
from minivault.web.openai.shapes import Chat, Entries

Told = tuple[str, dict[str, Any]]
"""An event's name behind `response.`, and its data."""


class Items:
    """Made of the parts of an answer, in order. `output` is what there is so far."""

    def __init__(self, generation: Generation) -> None:
        self.output: list[dict[str, Any]] = []
        self._generation = generation
        self._kind: str | None = None  # of the item that is still open

    def take(self, parts: Sequence[Part], entries: Entries = ()) -> Iterator[Told]:
        """The events of these parts; `entries` are the log probabilities that came with them."""
        for part in parts:
            if part.kind in ("content", "reasoning"):
                yield from self._open(part)
                yield self._text(part, entries)
            elif part.kind == "name":
                yield from self._open(part)
            else:
                self.output[-1]["arguments"] += part.text
                yield "function_call_arguments.delta", self._place() | {"delta": part.text}

    def end(self, status: str) -> Iterator[Told]:
        """The events of the end. Whatever came, there is an item; the last has this status."""
        if not self.output:
            yield from self._open(Part("content", ""))
        yield from self._close(status)

    def _open(self, part: Part) -> Iterator[Told]:
        if self._kind == part.kind and part.kind != "name":
            return
        yield from self._close("completed")
        self._kind = part.kind
        item = self._new(part)
        self.output.append(item)
        index = len(self.output) - 1
        # Its lists grow while this event waits to be written.
        copy = {name: [*each] if isinstance(each, list) else each for name, each in item.items()}
        yield "output_item.added", {"output_index": index, "item": copy}
        if part.kind == "content":
            item["content"].append(_content("", []))
            added = self._place() | {"content_index": 0, "part": _content("", [])}
            yield "content_part.added", added

    def _new(self, part: Part) -> dict[str, Any]:
        head = {"status": "in_progress"}
        id, before = self._generation.id, len(self.output)
        name = f"{id}_{before}" if before else id
        if part.kind == "content":
            head |= {"id": f"msg_{name}", "type": "message", "role": "assistant"}
            return {**head, "content": []}
        if part.kind == "reasoning":
            return {**head, "id": f"rs_{name}", "type": "reasoning", "summary": [], "content": []}
        call = call_id(self._generation, part.call)
        head |= {"id": f"fc_{call.removeprefix('call_')}", "type": "function_call"}
        return {**head, "call_id": call, "name": part.text, "arguments": ""}

    def _text(self, part: Part, entries: Entries) -> Told:
        item = self.output[-1]
        place = self._place() | {"content_index": 0, "delta": part.text}
        if part.kind == "reasoning":
            thought = self._said() + part.text
            item["content"] = [{"type": "reasoning_text", "text": thought}]
            return "reasoning_text.delta", place
        logprobs = Chat().logprobs(entries, 0)["content"]
        (content,) = item["content"]
        content["text"] += part.text
        content["logprobs"] += logprobs
        return "output_text.delta", place | {"logprobs": logprobs}

    def _close(self, status: str) -> Iterator[Told]:
        if self._kind is None:
            return
        item, place = self.output[-1], self._place()
        item["status"] = status
        if self._kind == "content":
            (content,) = item["content"]
            done = {"text": content["text"], "logprobs": content["logprobs"]}
            yield "output_text.done", place | {"content_index": 0, **done}
            yield "content_part.done", place | {"content_index": 0, "part": content}
        elif self._kind == "reasoning":
            yield "reasoning_text.done", place | {"content_index": 0, "text": self._said()}
        else:
            done = {"name": item["name"], "arguments": item["arguments"]}
            yield "function_call_arguments.done", place | done
        self._kind = None
        yield "output_item.done", {"output_index": place["output_index"], "item": item}

    def _place(self) -> dict[str, Any]:
        return {"item_id": self.output[-1]["id"], "output_index": len(self.output) - 1}

    def _said(self) -> str:
        return "".join(each["text"] for each in self.output[-1]["content"])


def _content(text: str, logprobs: list[dict[str, Any]]) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs}
