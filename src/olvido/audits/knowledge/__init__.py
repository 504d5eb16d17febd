"""Audits of remaining knowledge: recall, probes, extraction."""
