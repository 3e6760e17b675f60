"""The Content-Security-Policy of each kind of page."""

from __future__ import annotations

# Scripts and styles come from files only, and no script may write HTML from a string.
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'"
)
# The login form works without a script, so it has to be allowed to post.
LOGIN_POLICY = PAGE_POLICY.replace("form-action 'none'", "form-action 'self'")
# Swagger UI writes style attributes and sanitised HTML.
DOCS_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; manifest-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
