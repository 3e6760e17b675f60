"""Reads an answer as it is made, by transformers' response parser; the text is not changed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

from minivault.backends.base import Part

REASONING = ("reasoning_content", "reasoning", "thinking")
"""Fields of response templates that hold what was thought."""

_PIECE = 256  # letters that the parser gets at once
HEAD = 4096  # letters of a call in which its name is looked for


class AnswerReader:
    """Reads one answer as it is made. The same text gives the same parts, however it is cut, but
    for where the parts are cut. Any one thread.
    """

    def __init__(
        self, template: Mapping[str, Any], start: str, tools: Sequence[Mapping[str, Any]]
    ) -> None:
        from transformers.utils.chat_parsing import ResponseParser

        self._call: CallText | None = None
        self._calls = 0
        self._strips = False  # blanks between two regions belong to neither
        self._broken = False
        self._held = 0  # letters of the prompt that the parser has not decided about

        def made() -> Any:
            return ResponseParser(dict(template), prefix=start, tools=[*map(dict, tools)])

        self._fed: list[str] = []
        self._made = made
        self._parser = made()
        list(self._parts(self._parser.initial_events))
        self._held = _undecided(ResponseParser(dict(template), prefix=start))

    def feed(self, text: str) -> list[Part]:
        """What is certain now."""
        found: list[Part] = []
        for begin in range(0, len(text), _PIECE):
            if self._broken:
                found.append(Part("content", text[begin:]))
                break
            found += self._piece(text[begin : begin + _PIECE])
        return _joined(found) if len(text) > _PIECE else found

    def _piece(self, text: str) -> list[Part]:
        try:
            events = self._parser.feed(text)
        except Exception:  # noqa: BLE001 (a model writes anything, and a template may parse it)
            return list(self._by_letters(text))
        self._fed.append(text)
        return self._told(events)

    def _by_letters(self, text: str) -> Iterator[Part]:
        """The parts of what the parser raises at: as far as it can be read, then as it stands.

        By letters, so that they are the same however the text came.
        """
        self._parser = self._made()
        for each in self._fed:
            self._parser.feed(each)
        for place, letter in enumerate(text):
            try:
                events = self._parser.feed(letter)
            except Exception:  # noqa: BLE001 (as above)
                self._broken = True
                yield from self._rest("".join([*self._fed, text[:place]]), text[place:])
                return
            yield from self._told(events)

    def _rest(self, read: str, rest: str) -> list[Part]:
        """What was not told: a call with the marks behind it, and the rest."""
        call, self._call = self._call, None
        if call and call.text:
            begin = read.rfind(call.text)
            rest = read[begin + len(call.text) if call.told else begin :] + rest
        return [Part("content", rest)] if rest else []

    def _told(self, events: Sequence[Mapping[str, Any]]) -> list[Part]:
        found: list[Part] = []
        try:
            for part in self._parts(events):
                found.append(part)
        except Exception:  # noqa: BLE001 (as above)
            self._broken = True
            # The text of a call that cannot be read, unless it was told as one.
            call, self._call = self._call, None
            if call and call.text and not call.told:
                found.append(Part("content", call.text))
        return found

    def end(self) -> list[Part]:
        """What is left once the text has ended."""
        if self._broken:
            return []
        try:
            _, events = self._parser.finalize()
        except Exception:  # noqa: BLE001 (a call that was cut off is no JSON)
            if self._call and self._call.told:
                return []
            return self._rest("".join(self._fed), "") if self._call else []
        return self._told(events)

    def _parts(self, events: Sequence[Mapping[str, Any]]) -> Iterator[Part]:
        for event in events:
            field, kind = event["field"], event["type"]
            if field == "tool_calls":
                yield from self._of_call(kind, event)
            elif kind == "region_open":
                self._strips = self._strips or field in REASONING
            elif kind == "region_close":
                self._strips, self._held = True, 0
            elif field == "content" or field in REASONING:
                text, self._held = event["text"][self._held :], 0
                text = text.lstrip() if self._strips else text
                if text:
                    self._strips = False
                    yield Part("content" if field == "content" else "reasoning", text)

    def _of_call(self, kind: str, event: Mapping[str, Any]) -> Iterator[Part]:
        if kind == "region_open":
            self._call = CallText()
        elif self._call is None:
            return
        elif kind == "region_chunk":
            yield from self._call.push(event["text"], self._calls)
        else:
            call, self._call, self._strips = self._call, None, True
            parts = [] if call.told else list(_whole(event["value"], self._calls))
            if not call.told and not parts and call.text:
                parts = [Part("content", call.text)]
            yield from parts
            self._calls += call.told or sum(part.kind == "name" for part in parts)


def _joined(parts: Sequence[Part]) -> list[Part]:
    """The same with neighbours of one kind as one: as many as a text has regions."""

    def place(part: Part) -> tuple[object, ...]:
        return part.kind, part.call, part.kind == "name" and id(part)

    groups = (list(group) for _, group in groupby(parts, place))
    return [replace(each[0], text="".join(part.text for part in each)) for each in groups]


def _undecided(parser: Any) -> int:
    """How many letters at the end of a prompt may still be the beginning of something."""
    try:
        _, events = parser.finalize()
    except Exception:  # noqa: BLE001 (a template may parse it)
        return 0
    return sum(len(each["text"]) for each in events if each["type"] == "region_chunk")


class CallText:
    """The JSON of one call as it is written: its name at once, its arguments in parts."""

    NAMED = re.compile(
        r'\s*\{\s*"name"\s*:\s*("(?:[^"\\]|\\.)*")\s*,\s*"(?:arguments|parameters)"\s*:\s*(?=\{)'
    )

    def __init__(self) -> None:
        self.text = ""
        self.told = False
        self._depth = 0
        self._in_string = self._escaped = False
        self._at = 0  # where the arguments go on; -1 behind them

    def push(self, text: str, index: int) -> Iterator[Part]:
        begin = len(self.text)
        self.text += text
        if not self.told and begin < HEAD and (head := self.NAMED.match(self.text, 0, HEAD)):
            try:
                name = json.loads(head[1], strict=False)
            except ValueError:  # an escape that is none: it is no call, and told as it stands
                name = None
            if name is not None:
                self.told, self._at = True, head.end()
                yield Part("name", name, index)
        if self.told and self._at >= 0 and (more := self._more()):
            yield Part("arguments", more, index)

    def _more(self) -> str:
        """The arguments that have come since; they end with the object's last brace."""
        begin = self._at
        for place in range(begin, len(self.text)):
            letter = self.text[place]
            if self._in_string:
                self._in_string = self._escaped or letter != '"'
                self._escaped = letter == "\\" and not self._escaped
            elif letter == '"':
                self._in_string = True
            elif letter in "{[":
                self._depth += 1
            elif letter in "}]":
                self._depth -= 1
                if not self._depth:
                    self._at = -1
                    return self.text[begin : place + 1]
        self._at = len(self.text)
        return self.text[begin:]


def _whole(value: Any, index: int) -> Iterator[Part]:
    """The parts of calls that were read at once; none for what is no call."""
    for number, each in enumerate(value if isinstance(value, list) else [value], index):
        function = each.get("function", each) if isinstance(each, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            return
        arguments = function.get("arguments", function.get("parameters", {}))
        written = arguments if isinstance(arguments, str) else json.dumps(arguments)
        yield Part("name", function["name"], number)
        yield Part("arguments", written, number)
