"""The pages that the proxy itself answers with: a status, and one sentence that says what is wrong."""

from __future__ import annotations

import html
from http import HTTPStatus

import h11


def page(code: int, sentence: str) -> tuple[h11.Response, bytes]:
    """An answer with this status and its body."""
    reason = HTTPStatus(code).phrase
    said = html.escape(sentence)
    title = f"{code} {reason}"
    body = f"<!doctype html>\n<title>{title}</title>\n<h1>{title}</h1>\n<p>{said}</p>\n".encode("utf-8", "replace")
    headers = [
        ("Content-Type", "text/html; charset=utf-8"),
        ("Content-Length", str(len(body))),
        ("Cache-Control", "no-store"),
    ]
    return h11.Response(status_code=code, reason=reason.encode(), headers=headers), body
