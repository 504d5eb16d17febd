"""The closure: everything besides the serving weights that holds a request's data, and its exits.

Each item has one of four exits: erased, awaiting expiry, cannot, or unrelated, which the team
declares of what could not be examined. A request is closed when no item is open.
"""

from olvido.requests.closure.closing import close, closure, settle
from olvido.requests.closure.inventory import inventory
from olvido.requests.closure.places import Artefact, looked_into

__all__ = ["Artefact", "close", "closure", "inventory", "looked_into", "settle"]
