"""A chat template, rendered by a process that can be ended: in bounded time, memory and length."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import weakref
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from threading import Lock
from typing import Any

SECONDS = 1.0
"""Of the processor, for one conversation."""

LONGEST = 1_000_000
"""Characters of a prompt; a request has at most a quarter of that."""

_WORKER = Path(__file__).with_name("worker.py")


class TemplateFails(Exception):
    """The template makes no prompt of this conversation. The message says why, on one line."""


class ChatTemplate:
    """One template and the process that renders it, which starts with the first conversation.

    Any thread may render; they take turns.
    """

    def __init__(self, template: str, names: Mapping[str, str], *, seconds: float = SECONDS):
        """`names`: what else the template can read, as `bos_token`."""
        self._order = json.dumps(
            {"template": template, "names": dict(names), "limit": LONGEST, "seconds": seconds}
        )
        self._seconds = seconds
        self._turn = Lock()
        self._process: subprocess.Popen[str] | None = None
        self._end: weakref.finalize[Any, Any] | None = None

    def render(
        self,
        conversations: Sequence[Sequence[Mapping[str, Any]]],
        *,
        answer: bool,
        names: Mapping[str, Any] | None = None,
    ) -> list[str]:
        """The prompts of these conversations; with `answer` each ends where an answer begins.

        `names`: what the template can read besides, as `tools`. A template that asks for the time
        gets the same one in all of them. Raises TemplateFails.
        """
        now = datetime.now().isoformat()
        asked = [
            {
                **(names or {}),
                "now": now,
                "messages": [dict(each) for each in turns],
                "add_generation_prompt": answer,
            }
            for turns in conversations
        ]
        with self._turn:
            line = self._ask(json.dumps(asked))
        if not line:
            raise TemplateFails(f"it takes longer than {self._seconds:g} s, or too much memory")
        told: dict[str, Any] = json.loads(line)
        if "error" in told:
            raise TemplateFails(" ".join(str(told["error"]).split()))
        return [str(each) for each in told["texts"]]

    def close(self) -> None:
        """Ends the process; the next conversation would start another one."""
        if self._end is not None:
            self._end()

    def _ask(self, line: str) -> str:
        """The process's answer; empty if it ended over it."""
        process = self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(f"{line}\n")
            process.stdin.flush()
            answer = process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer.endswith("\n"):
            self.close()
            return ""
        return answer

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None or self._process.poll() is not None:
            self.close()
            try:
                process = subprocess.Popen(
                    [sys.executable, "-P", str(_WORKER)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    encoding="utf-8",
                )
            except OSError as error:
                why = f"the process that renders it cannot start: {error}"
                raise TemplateFails(why) from error
            self._process = process
            self._end = weakref.finalize(self, _ended, process)
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError):  # told by what comes next
                process.stdin.write(f"{self._order}\n")
        return self._process


def _ended(process: subprocess.Popen[str]) -> None:
    process.kill()
    with contextlib.suppress(BrokenPipeError):
        process.communicate()
