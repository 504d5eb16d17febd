"""How people's names are written: what spells one person, what names one, and what is near.

Nothing here knows a key. `olvido.ledger.identity` digests what these give.
"""

from __future__ import annotations

import re
from functools import lru_cache
from operator import eq, itemgetter

from olvido.folding import fold, words

TITLES = frozenset(
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


@lru_cache(maxsize=16)
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
    if folded.replace(" ", "").isalpha():
        return " ".join(_untitled(folded.split()))
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
    return " ".join(_untitled(", ".join(parts).split())) or folded


def _untitled(said: list[str]) -> list[str]:
    """Words of a name without titles at their front."""
    while said and said[0] in TITLES and _names(said[1:]) >= 2:
        del said[0]
    return said


def _is_id(folded: str) -> bool:
    if _ID.search(folded):
        return True
    return " " not in folded and _ACCOUNT.search(folded) is not None and "l·l" not in folded


def _is_suffix(part: str) -> bool:
    return all(word in _SUFFIXES for word in part.split())


def _names(said: list[str]) -> int:
    """How many words are names, and neither particles nor what is added behind."""
    return sum(word not in _PARTICLES and word not in _SUFFIXES for word in said)


def name_forms(name: str) -> frozenset[tuple[str, ...]]:
    """The runs of words under which a text names this person.

    The whole name; surname first; without middle names or second surnames; with apostrophes and
    hyphens and without; an e-mail address whole, and what stands before its @ where that is two
    words or more. Never one word alone, unless it has digits, as an account has: first names are
    common, and a text with one is not about this person.

    >>> sorted(name_forms("Núria Puig i Ferrer"))[0:2]
    [('ferrer', 'nuria'), ('nuria', 'ferrer')]
    >>> sorted(name_forms("Aoife O'Brien"))[0:2]
    [('aoife', 'o', 'brien'), ('aoife', 'obrien')]
    >>> name_forms("Ana"), name_forms("member-7741")
    (frozenset(), frozenset({('member', '7741')}))
    """
    canonical = canonical_name(name)
    if "@" in canonical:
        found = {tuple(words(canonical)), tuple(words(canonical.partition("@")[0]))}
    elif _is_id(canonical):
        found = {tuple(words(canonical))}
    else:
        found = set()
        for said in _orders(canonical.split()):
            found.add(tuple(part for word in said for part in words(word)))
            found.add(tuple("".join(words(word)) for word in said))
    return frozenset(form for form in found if len(form) > 1 or _is_account(form))


def whole_forms(name: str) -> frozenset[tuple[str, ...]]:
    """Those of `name_forms` that have all of a name: others may be called by a part of it.

    >>> sorted(whole_forms("Aoife O'Brien"))[:2]
    [('aoife', 'o', 'brien'), ('aoife', 'obrien')]
    """
    forms = name_forms(name)
    letters = max((len("".join(form)) for form in forms), default=0)
    return frozenset(form for form in forms if len("".join(form)) == letters)


def loose_forms(name: str) -> tuple[frozenset[str], frozenset[str]]:
    """What a name has in common with names that may be the same person's, and may not.

    Spaces, hyphens and apostrophes, doubled letters and ae, oe, ue for umlauts do not count; nor
    does what order two names stand in, which further names are left out, and whether the first is
    an initial.

    Returns:
        What to keep of a name, and what to look for of it; two names are near where anything kept
        of one is looked for of the other.
    """
    canonical = canonical_name(name)
    if "@" in canonical:
        canonical = " ".join(words(canonical.partition("@")[0]))
    for sign in _JOINED:
        canonical = canonical.replace(sign, "")
    said = _sound(canonical).split()
    telling = [word for word in said if word not in _PARTICLES and word not in _SUFFIXES]
    first, *others = telling[:_MOST] or [""]
    whole = [f"&{first} {other}" if first < other else f"&{other} {first}" for other in others]
    whole.append("=" + _sound("".join(said)))
    initial = first[:1]
    own, opposite = ("i", "f") if len(first) == 1 else ("f", "i")
    kept, sought = ([f"{side}{initial} {other}" for other in others] for side in (own, opposite))
    return frozenset(whole + kept), frozenset(whole + sought)


_JOINED = "-'·._"
_MOST = 6
_DIGRAPH, _DOUBLED = re.compile("([aou])e"), re.compile(r"([^\W\d_])\1+")


def _sound(letters: str) -> str:
    # A function takes half the time that a template takes, and most names have no doubled letter.
    shortened = _DIGRAPH.sub(itemgetter(1), letters)
    if any(map(eq, shortened, shortened[1:])):
        return _DOUBLED.sub(itemgetter(1), shortened)
    return shortened


def _orders(said: list[str]) -> list[list[str]]:
    """A name's words as they may stand in a text, whole or shortened."""
    first, rest = said[:1], [word for word in said[1:] if word not in _SUFFIXES]
    found = [said, first + rest, rest + first]
    for at, word in enumerate(rest):
        if word in _PARTICLES:
            continue
        # A surname may have particles before it: "de la Cruz".
        since = at
        while since and rest[since - 1] in _PARTICLES:
            since -= 1
        for surname in ([word], rest[since : at + 1]):
            found += [first + surname, surname + first]
    # An initial alone with a surname may be anybody's.
    whole = (said, first + rest)
    return [o for o in found if o in whole or (len(o[0]) > 1 and len(o[-1]) > 1)]


def _is_account(form: tuple[str, ...]) -> bool:
    return len(form) == 1 and any(c.isdigit() for c in form[0]) and len(form[0]) > 3
