"""Ids, names, canonical bytes, keys, sealed boxes and shared models: pure, with no input or output."""
