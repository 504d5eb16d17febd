"""The workspace joins algorithms and ledger: models are learned, loaded and published in it."""

from olvido.ledger.serving import PREVIOUS as PREVIOUS
from olvido.ledger.serving import SERVING as SERVING
from olvido.workspace.base import Workspace as Workspace
from olvido.workspace.reading import LedgerModel as LedgerModel
