"""Everything besides the serving weights that holds what a request wants forgotten, and its exits.

Each thing that is found leaves in one of four ways: erased, awaiting expiry, cannot, or unrelated,
which the team says of what nobody could look into. A request is closed when none is blank.
"""

from olvido.requests.closure.closing import close, closure, settle
from olvido.requests.closure.inventory import inventory
from olvido.requests.closure.places import Artefact, looked_into

__all__ = ["Artefact", "close", "closure", "inventory", "looked_into", "settle"]
