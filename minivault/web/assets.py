"""What a page is made of in few files: its modules as one script, its style sheets as one sheet.

Each file is a request before the first paint. Comments, indentation and a style sheet's spaces are
for those who read the files, and a third of their bytes. So no text in backticks may begin a line
with a space that matters.

Nothing is built beforehand. The files in static/ stay what is written, read and tested; a server
joins them when a page first asks, and again when one of them has changed.
"""

from __future__ import annotations

import hashlib
import re
from functools import cache, lru_cache
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from minivault.resources import resource

SCRIPTS = ("chat", "logs")
SHEETS = ("chat", "logs", "docs", "login")

_IMPORT = re.compile(r'^import \{ ([^}]+) \} from "([^"]+)";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:function\*?|class|const) (\w+))", re.MULTILINE)
_INDENT = re.compile(r"^\s+", re.MULTILINE)
_COMMENT = re.compile(r"/\*\*(?:.|\n)*?\*/\s?|^ *//.*\n", re.MULTILINE)
_SHEET_IMPORT = re.compile(r'^@import "(\w+)\.css";\n', re.MULTILINE)
_SHEET_COMMENT = re.compile(r"/\*.*?\*/\s?", re.DOTALL)
_SHEET_SPACE = re.compile(r"(?<=[:;,{}]) | (?=[{}])")


def asset_routes() -> list[Route]:
    """`GET /static/js/chat.js`, `/static/css/chat.css` and the like."""
    scripts = [f"/static/js/{page}.js" for page in SCRIPTS]
    sheets = [f"/static/css/{page}.css" for page in SHEETS]
    return [Route(path, _asset, methods=["GET"]) for path in scripts + sheets]


def script(folder: Path, page: str) -> str:
    """The page's main module after everything that it imports, each in a scope of its own."""
    parts: dict[Path, str] = {}
    main = folder / page / "main.js"
    _add(main, parts, folder)
    return "".join(text for path, text in parts.items() if path != main) + parts[main]


def sheet(folder: Path, page: str) -> str:
    """The page's style sheet, with those that it imports in their places."""
    text = (folder / f"{page}.css").read_text(encoding="utf-8")
    text = _SHEET_SPACE.sub("", _INDENT.sub("", _SHEET_COMMENT.sub("", text)))
    return _SHEET_IMPORT.sub(lambda found: sheet(folder, found[1]), text)


def _add(path: Path, parts: dict[Path, str], folder: Path) -> None:
    """Puts a module behind those that it imports."""
    text = path.read_text(encoding="utf-8")
    for _, name in _IMPORT.findall(text):
        imported = (path.parent / name).resolve()
        if imported not in parts:
            _add(imported, parts, folder)

    def taken(found: re.Match[str]) -> str:
        names, source = found.groups()
        return f"const {{ {names} }} = {_scope((path.parent / source).resolve(), folder)};\n"

    text = _IMPORT.sub(taken, _INDENT.sub("", _COMMENT.sub("", text)))
    exported = _EXPORT.findall(text)
    text = _EXPORT.sub("", text)
    if exported:
        body = f"{text}return {{ {', '.join(exported)} }};"
        text = f"const {_scope(path, folder)} = (() => {{\n{body}\n}})();\n"
    parts[path] = text


def _scope(path: Path, folder: Path) -> str:
    """The name that a module has in the script: `$chat_store`."""
    return "$" + "_".join(path.relative_to(folder).with_suffix("").parts)


def _changed(folder: Path) -> int:
    """When one of the files last changed, in nanoseconds."""
    return max(path.stat().st_mtime_ns for path in folder.rglob("*.*"))


@cache
def _folder(kind: str) -> Path:
    return resource(f"static/{kind}").resolve()


@lru_cache(maxsize=len(SCRIPTS) + len(SHEETS))
def _made(folder: Path, name: str, changed: int) -> tuple[bytes, str]:
    """The file and its ETag."""
    page, _, kind = name.partition(".")
    content = (script if kind == "js" else sheet)(folder, page).encode()
    return content, f'"{hashlib.sha256(content).hexdigest()[:32]}"'


async def _asset(request: Request) -> Response:
    asked = Path(request.url.path)
    folder = _folder(asked.parent.name)
    content, etag = _made(folder, asked.name, _changed(folder))
    headers = {"ETag": etag, "Cache-Control": "no-cache"}
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers=headers)
    kind = "text/javascript" if asked.suffix == ".js" else "text/css"
    return Response(content, media_type=kind, headers=headers)
