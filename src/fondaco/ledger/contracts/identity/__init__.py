"""Organisations, their nodes and users, and every key they ever had.

Expects of governance: whether institutions are admitted by vote. Invariants: a key is bound to one thing for ever; a
revoked or rotated key signs nothing; an organisation is made by genesis or by an invitation, which another active one
signed or a vote opened; a key that an organisation registers after genesis has signed its registration; an
organisation that one other invited has no weight in votes until a vote gives it one.
"""
