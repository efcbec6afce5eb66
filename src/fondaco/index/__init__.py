"""Search: the chain's catalogue projected into SQLite FTS5. A projection can be dropped and made again."""
