"""Letters to the person who asked: plain words, honest claims, and where they may turn."""

from olvido.requests.notices.language import KINDS, Language, languages
from olvido.requests.notices.letter import Letter, fitting, letter, note

__all__ = ["KINDS", "Language", "Letter", "fitting", "languages", "letter", "note"]
