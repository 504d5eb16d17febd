"""The demo, Barcelona residents: a request from start to end, on a model that learned them."""

from olvido.demo.residents import Resident, Town, make_town

__all__ = ["Resident", "Town", "make_town"]
