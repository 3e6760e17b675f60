"""Texts that have to be JSON, or calls with JSON in them: which tokens may come, by llguidance.

A mask is a pure function of the schema and of the tokens so far, so that a text that is made again
is constrained again in the same way.
"""

from __future__ import annotations

import json
import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import numpy as np
from llguidance import LLMatcher, LLParserLimits, LLTokenizer
from llguidance.numpy import allocate_token_bitmask, fill_next_token_bitmask

from minivault.engine.call_grammar import BadSchema, call_grammar, schema_of
from minivault.engine.likeliest import Row
from minivault.errors import BackendFailed, FieldError, InvalidRequest

LONGEST = 2**16
"""Characters of a schema."""

DEEPEST = 64
"""Levels of a schema."""

KNOWN = 16
"""Formats whose check is remembered: a request is checked before it waits, and made after it."""

_LIMITS = LLParserLimits(
    max_lexer_states=2**16,  # of its patterns, some 400 bytes each
    max_items_in_row=10_000,  # each property that may be left out takes four, an alternative some
    verbose_errors=False,  # they would quote the text
)
"""One text's. The library's own bound a mask besides, to 20 or 30 ms of a core."""

# One way to write each value: small models would go on with blanks for ever.
_FORM: Any = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}


class Grammars:
    """What a tokenizer's texts can be held to. Any thread; the first use takes its time."""

    def __init__(
        self, tokenizer: str, end_ids: Iterable[int], special: Mapping[str, int] | None = None
    ) -> None:
        """`tokenizer`: as tokenizer.json has it. `special`: the ids of its special tokens."""
        self._special = special or {}
        self._source = tokenizer
        self._end_ids = sorted(end_ids)
        self._turn = Lock()
        self._tokenizer: LLTokenizer | None = None
        self._known: OrderedDict[str, _Known] = OrderedDict()

    def check(self, format: Mapping[str, Any]) -> None:
        """Raises InvalidRequest for a format that no text can be held to; see `constraint`."""
        written = json.dumps(format)
        with self._turn:
            if written in self._known:
                self._known.move_to_end(written)
                return
        known = _Known()
        known.unused = self._compiled(format, known.cost)
        with self._turn:
            self._known[written] = known
            while len(self._known) > KNOWN:
                self._known.popitem(last=False)

    def constraint(self, format: Mapping[str, Any]) -> Constraint | None:
        """For one text. `format`: `{"type": "json_object"}`, or `json_schema` and the `schema`; or
        `calls`, see `Tokenizer.call_format`. None for calls that are written freely.

        What its check compiled goes to the first text that asks. Copies of it would share their
        lexer's states, of which there is a limit: one text would depend on the others. Raises
        InvalidRequest.
        """
        with self._turn:
            known = self._known.get(json.dumps(format)) or _Known()
            unused, known.unused = known.unused, None
        return unused or self._compiled(format, known.cost)

    def _compiled(self, format: Mapping[str, Any], cost: Cost) -> Constraint | None:
        calls = format["type"] == "calls"
        if calls and not format["begin"]:
            return None
        try:
            matcher = self._of_calls(format) if calls else self._of_schema(schema_of(format))
            return Constraint(matcher, self._tokens().vocab_size, cost)
        except (BadSchema, BackendFailed) as error:
            field = "tools" if calls else "response_format"
            message = f"Invalid schema for {field}: {error}"
            raise InvalidRequest([FieldError(field, message)]) from error

    def _of_calls(self, format: Mapping[str, Any]) -> LLMatcher:
        for tool in format["tools"]:
            _require_measure(tool["parameters"])
        if text := format.get("text"):
            _require_measure(schema_of(text))
        try:
            return self._matcher(
                LLMatcher.grammar_from_lark(call_grammar(format, _FORM, self._special))
            )
        except BadSchema:
            for tool in format["tools"]:  # one by one, they tell which of them it is
                try:
                    self._of_schema(tool["parameters"])
                except BadSchema as error:
                    raise BadSchema(f"the parameters of {tool['name']}: {error}") from error
            raise

    def _of_schema(self, schema: Any) -> LLMatcher:
        _require_measure(schema)
        try:
            grammar = LLMatcher.grammar_from_json_schema(json.dumps(schema), overrides=_FORM)
        except ValueError as error:
            raise BadSchema(_one_line(str(error))) from error
        return self._matcher(grammar)

    def _matcher(self, grammar: str) -> LLMatcher:
        matcher = LLMatcher(self._tokens(), grammar, log_level=0, limits=_LIMITS)
        if matcher.is_error():
            raise BadSchema(_one_line(matcher.get_error()))
        return matcher

    def _tokens(self) -> LLTokenizer:
        with self._turn:
            if self._tokenizer is None:
                ends = self._end_ids or None
                self._tokenizer = LLTokenizer(self._source, eos_token=ends)
            return self._tokenizer


def _require_measure(schema: Any) -> None:
    if len(json.dumps(schema)) > LONGEST or _depth(schema) > DEEPEST:
        raise BadSchema(f"it has more than {LONGEST} characters or {DEEPEST} levels")


@dataclass(slots=True)
class Cost:
    """Seconds that the next mask of a format may take: the last ones' most, slowly forgotten."""

    seconds: float = 0.0

    def learn(self, seconds: float) -> None:
        self.seconds = max(seconds, 0.9 * self.seconds)


@dataclass(slots=True)
class _Known:
    """A format that texts can be held to, and what its check compiled, until a text takes it."""

    unused: Constraint | None = None
    cost: Cost = field(default_factory=Cost)


class Constraint:
    """Holds one text to its grammar: see the seam, `engine.sequence`. `prepare` drops the GIL."""

    def __init__(self, matcher: LLMatcher, vocabulary: int, cost: Cost) -> None:
        """Prepared for its first token. Raises BackendFailed."""
        self._matcher = matcher
        self._mask = allocate_token_bitmask(1, vocabulary)
        self._cost = cost
        self.prepare()

    @property
    def cost(self) -> float:
        return self._cost.seconds

    @property
    def is_complete(self) -> bool:
        return bool(self._matcher.is_stopped())

    def prepare(self) -> None:
        """Raises BackendFailed where the schema leaves too much open to go on."""
        began = time.thread_time()  # not the time for which others had the core
        fill_next_token_bitmask(self._matcher, self._mask)
        self._cost.learn(time.thread_time() - began)
        self._check()

    def apply(self, row: Row) -> None:
        allowed = np.unpackbits(self._mask.view(np.uint8)[0], bitorder="little")[: len(row)]
        row[len(allowed) :] = -np.inf
        row[: len(allowed)][allowed == 0] = -np.inf

    def accept(self, token: int) -> None:
        """Raises BackendFailed as `prepare` does, and for a token that was not allowed."""
        self._matcher.consume_token(token)
        self._check()

    def _check(self) -> None:
        """Its errors are states, not exceptions."""
        if self._matcher.is_error():
            raise BackendFailed(
                "the text cannot be held to its schema any further: "
                + _too_much(self._matcher.get_error())
            )


def _too_much(error: str) -> str:
    """What of a schema was too much, and what to ask for instead."""
    if "states" in error or "expressions" in error:
        return (
            "a string in it may go on in too many ways, by its pattern (or by multipleOf, for a "
            "number); ask for simpler patterns, with fewer repetitions that are counted, and "
            "fewer within each other"
        )
    if "items" in error:
        return (
            "too much may come next, by properties that may be left out or by alternatives "
            "(anyOf); ask for fewer, or make properties required"
        )
    return _one_line(error)


def _depth(value: Any) -> int:
    """How deep it is, as far as that matters."""
    depth, level = 0, [value]
    while level and depth <= DEEPEST:
        depth += 1
        level = [item for each in level for item in _within(each)]
    return depth


def _within(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _one_line(text: str) -> str:
    return " ".join(text.split())[:300]
