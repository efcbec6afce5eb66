"""One institution's node: its folder, its keys, its ledger, its links, its life."""
