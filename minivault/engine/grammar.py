"""Texts that have to be JSON, or calls with JSON in them: which tokens may come, by llguidance.

A mask is a pure function of the schema and of the tokens so far, so that a text that is made again
is constrained again in the same way.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from threading import Lock
from typing import Any

import numpy as np
from llguidance import LLMatcher, LLTokenizer
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

# One way to write each value: small models would go on with blanks for ever.
_FORM: Any = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}


class Grammars:
    """What a tokenizer's texts can be held to. Any thread; the first use takes its time."""

    def __init__(self, tokenizer: str, end_ids: Iterable[int]) -> None:
        """`tokenizer`: as tokenizer.json has it."""
        self._source = tokenizer
        self._end_ids = sorted(end_ids)
        self._turn = Lock()
        self._tokenizer: LLTokenizer | None = None
        self._known: OrderedDict[str, LLMatcher | None] = OrderedDict()

    def check(self, format: Mapping[str, Any]) -> None:
        """Raises InvalidRequest for a format that no text can be held to; see `constraint`."""
        written = json.dumps(format)
        with self._turn:
            if written in self._known:
                self._known.move_to_end(written)
                return
        matcher = self._compiled(format)
        with self._turn:
            self._known[written] = matcher
            while len(self._known) > KNOWN:
                self._known.popitem(last=False)

    def constraint(self, format: Mapping[str, Any]) -> Constraint | None:
        """For one text. `format`: `{"type": "json_object"}`, or `json_schema` and the `schema`; or
        `calls`, see `Tokenizer.call_format`. None for calls that are written freely.

        What its check compiled goes to the first text that asks. Copies of it would share their
        lexer's states, of which there is a limit: one text would depend on the others. Raises
        InvalidRequest.
        """
        written = json.dumps(format)
        with self._turn:
            known = self._known.get(written)
            if known is not None:
                self._known[written] = None
        matcher = known or self._compiled(format)
        return Constraint(matcher, self._tokens().vocab_size) if matcher else None

    def _compiled(self, format: Mapping[str, Any]) -> LLMatcher | None:
        calls = format["type"] == "calls"
        if calls and not format["begin"]:
            return None
        try:
            return self._of_calls(format) if calls else self._of_schema(schema_of(format))
        except BadSchema as error:
            field = "tools" if calls else "response_format"
            message = f"Invalid schema for {field}: {error}"
            raise InvalidRequest([FieldError(field, message)]) from error

    def _of_calls(self, format: Mapping[str, Any]) -> LLMatcher:
        for tool in format["tools"]:
            _require_measure(tool["parameters"])
        if text := format.get("text"):
            _require_measure(schema_of(text))
        try:
            return self._matcher(LLMatcher.grammar_from_lark(call_grammar(format, _FORM)))
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
        matcher = LLMatcher(self._tokens(), grammar, log_level=0)
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


class Constraint:
    """Holds one text to its grammar. Used by the engine's thread alone."""

    def __init__(self, matcher: LLMatcher, vocabulary: int) -> None:
        self._matcher = matcher
        self._mask = allocate_token_bitmask(1, vocabulary)

    @property
    def is_complete(self) -> bool:
        """Whether nothing may follow."""
        return bool(self._matcher.is_stopped())

    def apply(self, row: Row) -> None:
        """Makes what may not come next impossible, in place. Raises BackendFailed."""
        fill_next_token_bitmask(self._matcher, self._mask)
        self._check()
        allowed = np.unpackbits(self._mask.view(np.uint8)[0], bitorder="little")[: len(row)]
        row[len(allowed) :] = -np.inf
        row[: len(allowed)][allowed == 0] = -np.inf

    def accept(self, token: int) -> None:
        """Goes on behind a token. Raises BackendFailed for one that was not allowed."""
        self._matcher.consume_token(token)
        self._check()

    def _check(self) -> None:
        """Its errors are states, not exceptions."""
        if self._matcher.is_error():
            raise BackendFailed(
                "the text cannot be held to its schema any further: it leaves too much open; ask "
                "for a simpler one, above all with simpler patterns"
            )


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
