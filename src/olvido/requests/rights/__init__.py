"""What a person may ask besides being forgotten: what is held about them, and that it be right."""

from olvido.requests.rights.access import FORM, VERSION, Given, close_access, export
from olvido.requests.rights.rectification import correct, learned

__all__ = ["FORM", "VERSION", "Given", "close_access", "correct", "export", "learned"]
