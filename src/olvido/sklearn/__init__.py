"""Heads on frozen features, in scikit-learn's manner, that forget rows or people.

A head is the last layer of a model whose features are frozen: embeddings, or the states of a
pretrained network. Where nobody who may ask to be forgotten has shaped them, what its head forgets
the model has forgotten.
"""

from olvido.sklearn.certificate import RemovalCertificate
from olvido.sklearn.certified import CertifiedHead
from olvido.sklearn.knn import KNNHead
from olvido.sklearn.ridge import RidgeClassifierHead, RidgeHead

__all__ = ["CertifiedHead", "KNNHead", "RemovalCertificate", "RidgeClassifierHead", "RidgeHead"]
