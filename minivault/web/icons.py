"""The icons of the pages: one path each, on a field of 20 by 20, drawn with a line of 1.5."""

from __future__ import annotations

ICONS = {"theme": "M10 3a7 7 0 1 0 0 14zM10 3a7 7 0 0 1 0 14"}

CHAT = ICONS | {
    "list": "M3.5 5h13M3.5 10h13M3.5 15h8",
    "more": "M4.5 10h.01M10 10h.01M15.5 10h.01",
    "plus": "M10 4v12M4 10h12",
    "controls": "M3 6h7m4 0h3M3 14h3m4 0h7M12 4v4M8 12v4",
    "keyboard": "M3 5.5h14v9H3zM6 8.5h.01M9 8.5h.01M12 8.5h.01M14.5 8.5h.01M7 11.5h6",
    "down": "M10 4v11.5M5 11l5 5 5-5",
    "share": "M13 7.5V3.5h3.5M16.5 3.5L9 11M14.5 11v5.5h-11v-11H9",
    "send": "M10 16V4.5M5 9l5-5 5 5",
    "stop": "M6 6h8v8H6z",
    "copy": "M7 7V3.5h9.5V13H13M3.5 7H13v9.5H3.5z",
    "continue": "M4 5l6 5-6 5zM11 5l6 5-6 5z",
    "retry": "M16 10a6 6 0 1 1-2-4.5M16 3v3.5h-3.5",
    "regenerate": "M4 8.5a6 6 0 0 1 11-1.5M16 11.5a6 6 0 0 1-11 1.5M15.5 3.5V7H12M4.5 16.5V13H8",
    "edit": "M4 16l.8-3.5L13 4.3a1.6 1.6 0 0 1 2.7 2.7L7.5 15.2z",
    "left": "M12 5l-5 5 5 5",
    "right": "M8 5l5 5-5 5",
    "lock": "M5.5 9h9v7.5h-9zM7 9V6.5a3 3 0 0 1 6 0V9",
}

LOGS = ICONS | {
    "close": "M5 5l10 10M15 5L5 15",
    "download": "M10 3.5V13M6 9.5l4 4 4-4M4 16.5h12",
    "check": "M4 10.5l4 4 8-9",
}
