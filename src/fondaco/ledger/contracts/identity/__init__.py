"""Organisations, their nodes and users, and every key they ever had.

Expects nothing of other contracts. Invariants: a key is bound to one thing for ever; a revoked or rotated key
signs nothing; an organisation is made by genesis or by an invitation that another active one signed.
"""
