"""The long form of test_network: everything that may happen to a network in a bad week. Run by `make network-test`."""

from __future__ import annotations

from pathlib import Path

import pytest
from network_node import until
from network_world import Network


@pytest.mark.timeout(1800)
def test_a_network_lives_through_a_bad_week(network: Network, tmp_path: Path) -> None:
    one, two, three, four = network.nodes
    network.goes_on()
    network.check()

    # A disk that is copied now, and restored at the end.
    four.stop()
    network.copy(four, tmp_path / "backup")
    four.start()
    network.check()

    # SIGKILL, each in turn.
    for node in (one, two, three, four):
        node.kill()
        network.goes_on(without=[node])
        node.start()
        network.check()

    # SIGSTOP for 20 seconds.
    three.pause(on=True)
    network.goes_on(without=[three], blocks=8)
    network.stands_still_for(20.0)
    three.pause(on=False)
    network.check()

    # Cut off, and linked again.
    two.cut(on=True)
    network.goes_on(without=[two], blocks=8)
    two.cut(on=False)
    network.check()

    # Two of four are gone: no block. The third returns: blocks.
    three.kill()
    four.kill()
    network.stands([one, two], 8.0)
    three.start()
    network.goes_on(without=[four])
    four.start()
    network.check()

    # Two of four are cut off from each other: no side makes a block, and none forgets one.
    three.cut(on=True)
    four.cut(on=True)
    network.stands([one, two], 8.0)
    three.cut(on=False)
    four.cut(on=False)
    network.goes_on()
    network.check()

    # A late joiner by state sync: it has no block from before, and the same hash.
    five = network.join_by_state_sync(5)
    network.check()
    assert five.ask({"verb": "status"})["oldest"] > 1

    # It becomes a validator by vote; then another one's seat is taken.
    network.seat("org-5", 10, ["org-1", "org-2", "org-3", "org-4", "org-5"])
    until(lambda: all(node.ask({"verb": "status"})["validators"] == 5 for node in network.nodes), "five validators")
    one.kill()
    network.goes_on(without=[one])  # four of five
    one.start()
    network.check()
    network.seat("org-2", 0, ["org-1", "org-3", "org-4", "org-5"])
    until(lambda: all(node.ask({"verb": "status"})["validators"] == 4 for node in network.nodes), "four validators")
    two.kill()
    four.kill()
    network.goes_on(without=[two, four])  # three of four: the second has no vote any more
    two.start()
    four.start()
    network.check()

    # The whole network at once, the hard way.
    for node in network.nodes:
        node.kill()
    for node in network.nodes:
        node.start()
    network.goes_on()
    network.check()

    # The disk of an hour ago.
    four.stop()
    network.restore(four, tmp_path / "backup")
    four.start()
    network.goes_on()
    network.check()
    assert network.load.doubles > 20
