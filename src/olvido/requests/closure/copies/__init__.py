"""Copies of a person's rows in files as people store them, and files without them.

The module is pure: it reads files, knows no ledger and no workspace, and writes nothing.
"""

from olvido.requests.closure.copies.contents import content_of
from olvido.requests.closure.copies.rewriting import without
from olvido.requests.closure.copies.runs import NameKey
from olvido.requests.closure.copies.search import CopySearch, Look

__all__ = ["CopySearch", "Look", "NameKey", "content_of", "without"]
