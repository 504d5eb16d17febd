"""Formatting of numbers, times and ranges for people."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from datetime import datetime

MARKS = {"pass": "✓", "fail": "✗", "unknown": "?", "silent": "–"}
"""Symbols before a status, so that it is readable without colour."""

# Surrogates, control characters, and marks that change the direction of text.
_UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
    """The text with invisible and misleading characters named.

    >>> visible("admin\\u202etxt"), visible("two\\nlines"), visible("\\x00")
    ('admin⟨U+202E⟩txt', 'two\\nlines', '⟨U+0000⟩')
    """
    return _UNSEEN.sub(lambda found: f"⟨U+{ord(found[0]):04X}⟩", text)


def shortened(text: str, most: int) -> str:
    """The text, cut off where it is longer than `most` characters.

    >>> shortened("Montserrat", 10), shortened("Montserrat", 5)
    ('Montserrat', 'Mont…')
    """
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def percent(value: float | None) -> str:
    """Format a share.

    >>> percent(1.0), percent(0.0756), percent(None), percent(float("nan"))
    ('100%', '7.6%', 'not measured', 'not a number')
    """
    if value is None:
        return "not measured"
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else "infinite"
    return f"{value:.1%}".replace(".0%", "%")


def number(value: float | None, *, sign: bool = False) -> str:
    """Format a measured number.

    >>> number(5.9436), number(-2e-17, sign=True), number(0.05, sign=True), number(-0.5)
    ('5.944', '0.000', '+0.050', '−0.500')
    >>> number(None), number(float("nan")), number(float("-inf"))
    ('not measured', 'not a number', '−infinite')
    """
    if value is None:
        return "not measured"
    if math.isnan(value):
        return "not a number"
    if math.isinf(value):
        return "infinite" if value > 0 else "−infinite"
    if not round(value, 3):
        return "0.000"
    text = f"{value:.4g}" if abs(value) >= 1e6 else f"{value:.3f}"
    return ("+" if sign and value > 0 else "") + text.replace("-", "−")


def yes_or_no(value: float | None) -> str:
    """Format a yes-or-no value.

    >>> yes_or_no(1.0), yes_or_no(0.0), yes_or_no(0.5)
    ('yes', 'no', '0.500')
    """
    return {1.0: "yes", 0.0: "no"}.get(value, number(value)) if value is not None else number(value)


def probability(value: float | None) -> str:
    """Format a p-value.

    >>> probability(0.04), probability(2e-9), probability(None)
    ('0.040', 'under 0.001', 'not known')
    """
    if value is None:
        return "not known"
    return "under 0.001" if value < 0.001 else number(value)


def duration(seconds: float | None) -> str:
    """Format a duration.

    >>> duration(5.397), duration(80), duration(367.5), duration(7500), duration(None)
    ('5.4 s', '80 s', '6 min 8 s', '2 h 5 min', 'not measured')
    """
    if seconds is None or not math.isfinite(seconds):
        return number(seconds)
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min {rest} s"


def tolerance(bounds: Sequence[float | None]) -> str:
    """Format the tolerated range of a difference.

    >>> tolerance([None, 0.05]), tolerance([-0.03, 0.03]), tolerance([-0.1, None])
    ('at most +0.050', '±0.030', 'at least −0.100')
    >>> tolerance([None, None]), tolerance([-0.1, 0.2]), tolerance([0.0, 0.0])
    ('any', '−0.100 to +0.200', 'none')
    """
    low, high = bounds
    if low is None or high is None:
        if low is None and high is None:
            return "any"
        return f"at least {number(low)}" if high is None else f"at most {number(high, sign=True)}"
    if low == -high:
        return f"±{number(high)}" if high else "none"
    return f"{number(low, sign=True)} to {number(high, sign=True)}"


def mean(values: Iterable[float | None]) -> float | None:
    """The mean of the measured values: infinities make no error.

    >>> mean([1.0, 2.0, None]), mean([float("inf"), float("-inf")]), mean([])
    (1.5, nan, None)
    """
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def day(iso: str) -> str:
    """Format a date, with its time where it has one; any other text stays unchanged.

    >>> day("2026-11-23T21:26:38+00:00"), day("2026-11-23"), day("yesterday")
    ('23 November 2026, 21:26 UTC', '23 November 2026', 'yesterday')
    """
    form = "%-d %B %Y" if len(iso) == len("2026-11-23") else "%-d %B %Y, %H:%M %Z"
    try:
        return datetime.fromisoformat(iso).strftime(form).strip()
    except ValueError:
        return iso


def count(value: int | None) -> str:
    """Format a count.

    >>> count(2052), count(None)
    ('2,052', 'not measured')
    """
    return number(None) if value is None else f"{value:,}"


def listed(words: Sequence[str]) -> str:
    """Join words into one phrase.

    >>> listed(["a"]), listed(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


def several(count: int, one: str, many: str | None = None) -> str:
    """Format a number of things.

    >>> several(1, "record"), several(2000, "record")
    ('1 record', '2,000 records')
    """
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def digest(text: str) -> str:
    """The beginning of a digest, enough to distinguish models by eye.

    >>> digest("sha256:0123456789abcdef0123456789abcdef")
    'sha256:0123456789ab…'
    """
    kind, colon, value = text.rpartition(":")
    return f"{kind}{colon}{shortened(value, 13)}"
