"""Letters to the person who asked: plain words, honest claims, and where they may turn."""

from olvido.requests.notices.language import KINDS, Language, languages
from olvido.requests.notices.letter import Letter, letter

__all__ = ["KINDS", "Language", "Letter", "languages", "letter"]
