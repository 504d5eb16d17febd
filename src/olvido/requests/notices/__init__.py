"""Letters to the person who asked: plain words, honest claims, and where they may turn."""

from olvido.requests.notices.language import KINDS, Language, languages
from olvido.requests.notices.letter import REASONED, Letter, fitting, letter, note, state_of

__all__ = [
    "KINDS",
    "REASONED",
    "Language",
    "Letter",
    "fitting",
    "languages",
    "letter",
    "note",
    "state_of",
]
