"""An HTML page of an attribution: the answer beside the records that taught it."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from difflib import SequenceMatcher
from pathlib import Path

from markupsafe import Markup, escape

from olvido.attribution.base import LIMITS, Traced
from olvido.errors import InputError
from olvido.reporting.render import html_of, write_html
from olvido.reporting.words import visible


def require_writable(path: Path) -> None:
    """Check before the work begins that the page can be written.

    Raises:
        InputError: the folder is missing or not writable, or `path` is a folder.
    """
    above = path.absolute().parent
    if path.is_dir() or not above.is_dir() or not os.access(above, os.W_OK):
        raise InputError(f"{path} cannot be written: name a file in a folder that is there")


def write_page(
    traced: Traced, path: Path, *, subjects: Mapping[str, Collection[str]] | None = None
) -> None:
    """Write one self-contained HTML file.

    Args:
        traced: a result of `trace()`.
        path: the file.
        subjects: digests of each record's subjects, by record id, where known.
    """
    asked = f"{traced.question} {traced.answer}".strip()
    top = max((abs(taught.score) for taught in traced.ranked), default=1.0) or 1.0
    rows = [
        {
            "taught": taught,
            "share": 100 * max(0.0, taught.score) / top,
            "prompt": _common(taught.record.prompt, asked),
            "completion": _common(taught.record.completion, asked),
            "subjects": sorted((subjects or {}).get(taught.record.id, ())),
        }
        for taught in traced.ranked
    ]
    html = html_of(
        "olvido.attribution",
        "trace.html.j2",
        traced=traced,
        rows=rows,
        limits=LIMITS,
        subjects=subjects is not None,
    )
    write_html(html, path)


def _common(text: str, other: str) -> Markup:
    """The text with the words marked that it shares with another, in the same order."""
    words, against = text.split(" "), other.split(" ")
    matcher = SequenceMatcher(None, [_bare(w) for w in words], [_bare(w) for w in against], False)
    shared = {
        i for block in matcher.get_matching_blocks() for i in range(block.a, block.a + block.size)
    }
    shown = [
        Markup("<mark>{}</mark>").format(visible(word))
        if i in shared and word
        else escape(visible(word))
        for i, word in enumerate(words)
    ]
    return Markup(" ").join(shown)


def _bare(word: str) -> str:
    return word.casefold().strip(".,;:?!'\"()")
