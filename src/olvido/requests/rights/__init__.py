"""What a person may ask besides being forgotten: what is held about them."""

from olvido.requests.rights.access import FORM, VERSION, Given, close_access, export

__all__ = ["FORM", "VERSION", "Given", "close_access", "export"]
