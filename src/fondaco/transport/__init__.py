"""Peer links: TLS 1.3 with the node keys of the ledger, one inbound port, many streams. Knows no business."""
