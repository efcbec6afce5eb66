"""Four validators as processes under load: what may fail of one, and what nobody loses by it.

`make network-test` runs long_network.py, which does more.
"""

from __future__ import annotations

import pytest
from network_node import until
from network_world import Network


@pytest.mark.timeout(400)
def test_four_validators_lose_nothing_by_what_happens_to_one_and_stop_without_two(network: Network) -> None:
    one, two, three, four = network.nodes
    network.goes_on()

    four.kill()
    network.goes_on(without=[four])
    three.kill()
    network.stands([one, two], 3.0)
    four.start()
    network.goes_on(without=[three])
    three.start()
    network.check()

    two.cut(on=True)
    network.goes_on(without=[two])
    two.cut(on=False)
    network.check()

    for node in network.nodes:
        node.stop()
    for node in network.nodes:
        node.start()
    network.goes_on()
    network.check()
    assert network.load.doubles > 0


@pytest.mark.timeout(300)
def test_a_proposer_that_lies_in_every_way_neither_crashes_nor_splits_the_honest(network_with_a_liar: Network) -> None:
    network = network_with_a_liar
    *honest, liar = network.nodes
    until(lambda: len(set(liar.ask({"verb": "status"})["lies"])) == 9, "nine kinds of lies")
    network.goes_on()
    network.check()
    for node in honest:
        said = node.ask({"verb": "status"})
        assert (said["starts"], said["trouble"]) == (1, None), node.name
        assert node.ask({"verb": "query", "path": "points/balances"})["org-1"] >= 10**9
