"""The Barcelona residents: the whole path of a request, on a model that really learned them."""

from olvido.demo.residents import Resident, Town, make_town

__all__ = ["Resident", "Town", "make_town"]
