"""The market: what institutions seek, what they offer for which price, and the deals that come of it.

Expects of catalog: what is published on which terms; of grants: make a grant that both sides have signed for; of
certificates: the receipts of use. Invariants: a deal has one grant, at the offer's price, within the terms of the
catalogue; only an open demand or offer can be matched, and one that has closed stays closed; no points are held here.

A demand moves open -> met, withdrawn or expired; an offer open -> taken (when it was for one demand), withdrawn or
expired. How they are matched is in `matching.py`.
"""
