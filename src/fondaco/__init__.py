"""Fondaco: publish, match, request, grant, compute, certify, settle, dispute, audit - and no way round the gate."""

__version__ = "0.1.0"
