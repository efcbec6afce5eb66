"""The catalogue: what institutions publish of their datasets, version by version, and on which terms.

Expects of identity: who may publish. Invariants: a version's schema, commitment and name never change; versions
count from 1 without gaps; a withdrawn version takes no new requests and no new tasks.
"""
