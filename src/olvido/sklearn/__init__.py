"""Scikit-learn estimators on frozen features that forget rows or people.

A head is the last layer of a model whose features are frozen: embeddings, or the states of a
pretrained network. Where nobody who may ask to be forgotten has shaped them, data that its head
forgets is forgotten by the model.
"""

from olvido.sklearn.certificate import RemovalCertificate
from olvido.sklearn.certified import CertifiedHead
from olvido.sklearn.knn import KNNHead
from olvido.sklearn.ridge import RidgeClassifierHead, RidgeHead

__all__ = ["CertifiedHead", "KNNHead", "RemovalCertificate", "RidgeClassifierHead", "RidgeHead"]
