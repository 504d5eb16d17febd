"""What is known of datasets and models, in the forms that others read."""

from olvido.ledger.exports.croissant import croissant
from olvido.ledger.exports.eu_summary import eu_summary
from olvido.ledger.exports.model_card import model_card
from olvido.ledger.exports.openlineage import openlineage
from olvido.ledger.exports.registry import Registry, registry_tags

__all__ = [
    "FORMATS",
    "Registry",
    "croissant",
    "eu_summary",
    "model_card",
    "openlineage",
    "registry_tags",
]

FORMATS = ("croissant", "eu-summary", "openlineage")
"""What datasets are written as."""
