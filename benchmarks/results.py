"""Measures everything anew and writes it into RESULTS.md.

`python -m benchmarks.results [NAME …] [-- OPTION …]`: each section of the page is what one command
prints, between two markers; a section alone can be taken anew by its name, with other options too.
A command that fails leaves its section as it was.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

PAGE = Path(__file__).with_name("RESULTS.md")


@dataclass(frozen=True, slots=True)
class Section:
    """What one command prints, as Markdown."""

    name: str
    arguments: tuple[str, ...]

    @property
    def shown(self) -> str:
        """The command as a reader types it."""
        return shlex.join(("python", "-m", *self.arguments))

    def told(self, options: list[str]) -> Section:
        """The same with more options."""
        return replace(self, arguments=(*self.arguments, *options))

    def measure(self) -> str:
        """Runs the command. Raises CalledProcessError."""
        command = [sys.executable, "-m", *self.arguments, "--markdown"]
        done = subprocess.run(command, cwd=PAGE.parents[1], stdout=subprocess.PIPE, check=True)
        return done.stdout.decode("utf-8").strip()


def _only(*names: str) -> tuple[str, ...]:
    return tuple(word for name in names for word in ("--only", name))


_SHAPE = ("--shape", "distilgpt2")


SECTIONS = (
    Section("chat", ("benchmarks.peers", *_only("llama", "minivault engine"))),
    Section("avx2", ("benchmarks.peers", "--avx2")),
    Section(
        "libraries", ("benchmarks.peers", *_only("generate", "ctranslate", "vllm", "minivault"))
    ),
    Section("speculation", ("benchmarks.speculation",)),
    Section("turns", ("benchmarks.turns",)),
    Section("answers", ("benchmarks.answers",)),
    Section("quality", ("benchmarks.quality",)),
    Section("quality-gpt2", ("benchmarks.quality", "--model", "models/storyteller")),
    Section("bench", ("minivault", "bench", *_SHAPE)),
    Section(
        "peers",
        ("benchmarks.peers", *_SHAPE, *_only("generate", "ctranslate", "llama", "minivault")),
    ),
    Section(
        "servers", ("benchmarks.peers", *_SHAPE, *_only("over http", "serve"), "--tasks", "1,16")
    ),
    Section("before", ("benchmarks.before", "ab1dda4~1")),
    Section("overhead", ("benchmarks.overhead",)),
    Section("start", ("benchmarks.start",)),
    Section(
        "start-chat",
        ("benchmarks.start", "--model", "models/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),
    ),
)


def replaced(page: str, section: Section, measured: str) -> str:
    """The page with new content between the section's markers. Raises ValueError without them."""
    begin, end = f"<!-- begin {section.name} -->", f"<!-- end {section.name} -->"
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    content = f"{begin}\n`{section.shown}`\n\n{measured}\n{end}"
    new, count = pattern.subn(lambda _: content, page)
    if count != 1:
        raise ValueError(f"{PAGE.name} has no section {section.name}")
    return new


def refresh(sections: list[Section]) -> int:
    """Measures the sections one after another; returns how many failed."""
    console, failed = Console(stderr=True), 0
    for section in sections:
        console.print(f"{section.name}: {section.shown}", highlight=False)
        try:
            measured = section.measure()
        except subprocess.CalledProcessError as error:
            console.print(
                f"{section.name} failed with exit code {error.returncode}; left as it was"
            )
            failed += 1
        else:
            page = PAGE.read_text(encoding="utf-8")
            PAGE.write_text(replaced(page, section, measured), encoding="utf-8")
    return failed


def main(arguments: list[str]) -> int:
    names, options = arguments, []
    if "--" in arguments:
        place = arguments.index("--")
        names, options = arguments[:place], arguments[place + 1 :]
    known = {section.name: section for section in SECTIONS}
    if unknown := set(names) - set(known):
        print(f"error: no section {unknown.pop()}; there are: {', '.join(known)}", file=sys.stderr)
        return 2
    chosen = [known[name] for name in names or known]
    return int(refresh([each.told(options) for each in chosen]) > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
