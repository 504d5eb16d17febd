"""Copies of a person's rows in files as people store them, and files without them.

The module is pure: it reads files, knows no ledger and no workspace, and writes nothing.
"""

from olvido.requests.closure.rewriting import without
from olvido.requests.closure.search import CopySearch, Look
from olvido.requests.copies.contents import content_of
from olvido.requests.copies.runs import NameKey

__all__ = ["CopySearch", "Look", "NameKey", "content_of", "without"]
