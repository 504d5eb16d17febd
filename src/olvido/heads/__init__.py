"""Heads on frozen features, in scikit-learn's manner, that forget rows or people.

A head is the last layer of a model whose features are frozen: embeddings, or the states of a
pretrained network. Where nobody who may ask to be forgotten has shaped them, what its head forgets
the model has forgotten.
"""

from olvido.heads.certificate import Certificate
from olvido.heads.certified import CertifiedHead
from olvido.heads.knn import KNNHead
from olvido.heads.ridge import RidgeClassifierHead, RidgeHead

__all__ = ["Certificate", "CertifiedHead", "KNNHead", "RidgeClassifierHead", "RidgeHead"]
