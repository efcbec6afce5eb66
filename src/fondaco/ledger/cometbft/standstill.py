"""Why no block comes though one is due: what CometBFT itself says of its peers and of the round that it is in.

An idle chain makes an empty block as often as its configuration says (home.py), so a longer silence is a standstill.
Where it says that there are no empty blocks, a chain may rightly be silent, and nothing is told. The votes are those
that this validator has heard: of one that is not heard it is not known whether it stopped or is cut off. Trusts its own
CometBFT; it tells, and decides nothing.
"""

from __future__ import annotations

import dataclasses

from fondaco.ledger.cometbft.rpc import Rpc, RpcError

PATIENCE = 20.0  # seconds beyond the configured pause: a few rounds of proposers that are down
_PRECOMMIT = 6  # CometBFT's RoundStepType: from here on precommits are counted, from 4 on prevotes
_PREVOTE = 4


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Standstill:
    """No block for `seconds`. `height` is the one that is due, `peers` are links; `fault` is why nothing more is known.

    `heard` is the power of those whose votes of the current step came, `total` that of all; `unheard` are the places in
    the validators' order of the others. Where no votes are due yet, `heard` is None.
    """

    seconds: int
    height: int = 0
    round: int = 0
    peers: int = 0
    heard: int | None = None
    total: int = 0
    unheard: tuple[int, ...] = ()
    fault: str = ""

    @property
    def lacks_votes(self) -> bool:
        """Whether no more than two thirds of the power were heard, so that no block can come."""
        return self.heard is not None and 3 * self.heard <= 2 * self.total


def look(rpc: Rpc, seconds: float) -> Standstill:
    """What CometBFT says of a silence of so many seconds."""
    whole = int(seconds)
    try:
        peers, state = rpc.peers(), rpc.round_state()
    except RpcError as fault:
        return Standstill(seconds=whole, fault=fault.cause)
    at, number = state.step, state.round
    if at < _PREVOTE:  # a round begins: what is known is how the one before ended
        at, number = _PRECOMMIT, number - 1
    counted = [one for one in state.votes if one.round == number]
    if not counted:
        return Standstill(seconds=whole, height=state.height, round=state.round, peers=peers)
    votes = counted[0].precommits if at >= _PRECOMMIT else counted[0].prevotes
    return Standstill(
        seconds=whole,
        height=state.height,
        round=state.round,
        peers=peers,
        heard=votes.power,
        total=votes.total,
        unheard=tuple(place for place, came in enumerate(votes.came) if not came),
    )
