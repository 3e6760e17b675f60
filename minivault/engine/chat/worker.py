"""The program that renders a chat template, because a template is code and may never end.

Run as a file, with nothing of MiniVault imported. Lines of JSON come in and go out: first the
template, then conversations. The kernel ends it when a rendering takes too much time; the parent
starts another one.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from jinja2 import Template, TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

_MEMORY = 2**30


class Generation(Extension):
    """`{% generation %}` … `{% endgeneration %}` mark, for training, what an assistant says."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def environment() -> ImmutableSandboxedEnvironment:
    """What templates expect to find: as transformers', and like there nothing can be changed."""

    def tojson(value: Any, ensure_ascii: bool = False, **options: Any) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, **options)

    def raise_exception(message: str) -> None:
        raise TemplateError(message)

    made = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    made.filters["tojson"] = tojson
    made.globals["raise_exception"] = raise_exception
    return made


def _rendered(template: Template, names: dict[str, Any], asked: dict[str, Any]) -> Iterator[str]:
    """The pieces of one conversation's prompt; its clock stands still."""
    now = datetime.fromisoformat(asked.pop("now"))
    return template.generate(names | asked, strftime_now=now.strftime)


def _within(pieces: Iterator[str], limit: int) -> str:
    """All pieces as one text. Raises OverflowError once they are longer than `limit`."""
    text, length = [], 0
    for piece in pieces:
        text.append(piece)
        length += len(piece)
        if length > limit:
            raise OverflowError(f"it makes more than {limit} characters of it")
    return "".join(text)


def main() -> None:
    """Answers each line with the texts, or with what went wrong. Ends when no more lines come."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    order = json.loads(sys.stdin.readline())
    template = None
    for line in sys.stdin:
        asked = json.loads(line)
        # Nobody handles SIGPROF: its default action ends the process, wherever it is.
        signal.setitimer(signal.ITIMER_PROF, order["seconds"])
        try:
            template = template or environment().from_string(order["template"])
            made = [
                _within(_rendered(template, order["names"], each), order["limit"]) for each in asked
            ]
            answer: dict[str, Any] = {"texts": made}
        except Exception as error:  # noqa: BLE001 (a template is code: it raises anything)
            words = f": {error}" if str(error) else ""
            answer = {"error": f"{type(error).__name__}{words}"[:500]}
        signal.setitimer(signal.ITIMER_PROF, 0)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
