"""The vault: an institution's own data, normalised, profiled, chunked, encrypted, named. It knows no peer.

`reader` is the one module that gives rows back; the import rules let the gate alone use it.
"""
