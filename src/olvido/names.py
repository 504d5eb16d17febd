"""How people's names are written: what spells one person, what names one, and what is near.

Nothing here knows a key. `olvido.ledger.identity` digests what these give.
"""

from __future__ import annotations

import re

from olvido.folding import fold

_TITLES = frozenset(
    # English, Spanish, Catalan, German, French, Italian, Portuguese, Dutch; already folded.
    "mr mrs ms miss mx dr prof professor doctor sir dame rev mister "
    "sr sra srta don dona doctora profesor profesora senor senora senorita "
    "senyor senyora sta mn herr frau fraulein dipl-ing ing mme mlle mgr monsieur madame "
    "mademoiselle docteur sig signor signora signorina dott dottor dottoressa "
    "dra profa senhor senhora dhr mevr mevrouw meneer".split()
)
_PARTICLES = frozenset(
    "a al af av d da dal das de degli dei del della den der des di do dos du e el i la las le les "
    "li lo los of och ou san santa st ten ter the und van vom von y zu zum zur ben bin bint ibn "
    "abu".split()
)
_SUFFIXES = frozenset(
    "jr sr jnr snr junior senior filho ii iii iv phd md dds msc bsc esq "
    "inc ltd llc llp plc gmbh".split()
)
# A name has letters and what stands between them; what has digits or signs is an id.
_ID = re.compile(r"[\d@_/\\:;|#=+*%&<>(){}\[\]\"~^$!?]")
# "ana.soler" is an account, "j.r.puig" is a name with its initials' points.
_ACCOUNT = re.compile(r"[^\W\d_]{2,}[.·][^\W\d_]")
_LIGATURE = re.compile(r"(?<![^\W\d_])l·")
_COMMA = re.compile(r"[,،]")
_LEADING, _TRAILING = re.compile(r"^[\s.,،]+"), re.compile(r"[\s.,،]+$")


def canonical_name(text: str) -> str:
    """The form in which two usual spellings of one person's name, or of one id, are the same.

    It is `olvido.folding.fold` and, for what is a name and no id, further: "Surname, First" is
    "First Surname"; a title at the front, points of initials, and a point or comma at the end do
    not count. An e-mail address, an account or anything with digits is folded and left as it is.
    Titles are dropped only where two words of a name remain: "Don Draper" is somebody called Don.

    >>> canonical_name("Puig i Ferrer, Dra. Núria")
    'nuria puig i ferrer'
    >>> canonical_name("Dr. J.R. O’Neill"), canonical_name("Ana.Soler@Example.org.")
    ("j r o'neill", 'ana.soler@example.org.')
    """
    folded = fold(text)
    if _is_id(folded):
        return folded
    pointless = _LIGATURE.sub("l ", folded).replace(".", " ")
    bare = _TRAILING.sub("", _LEADING.sub("", pointless))
    parts = [" ".join(part.split()) for part in _COMMA.split(bare)]
    if len(parts) > 1 and _is_suffix(parts[-1]):
        parts[-2:] = [f"{parts[-2]} {parts[-1]}"]
    if len(parts) == 2 and all(parts):
        parts.reverse()
        parts = [" ".join(parts)]
    said = ", ".join(parts).split()
    while said and said[0] in _TITLES and _names(said[1:]) >= 2:
        del said[0]
    return " ".join(said) or folded


def _is_id(folded: str) -> bool:
    if _ID.search(folded):
        return True
    return " " not in folded and _ACCOUNT.search(folded) is not None and "l·l" not in folded


def _is_suffix(part: str) -> bool:
    return all(word in _SUFFIXES for word in part.split())


def _names(said: list[str]) -> int:
    """How many words are names, and neither particles nor what is added behind."""
    return sum(word not in _PARTICLES and word not in _SUFFIXES for word in said)
