"""What the control socket can be asked: a class a group of verbs, a method a verb. Arguments and answers are JSON.

Users' keys are in the node's folder and sign here, each for its own role; who may use the socket may use them.
"""

from __future__ import annotations

from fondaco.node.control import Verb
from fondaco.node.node import Node
from fondaco.node.verbs.audit import AuditVerbs
from fondaco.node.verbs.data import DataVerbs
from fondaco.node.verbs.disputes import DisputeVerbs
from fondaco.node.verbs.governance import GovernanceVerbs
from fondaco.node.verbs.grants import GrantVerbs
from fondaco.node.verbs.house import HouseVerbs
from fondaco.node.verbs.market import MarketVerbs
from fondaco.node.verbs.points import PointVerbs
from fondaco.node.verbs.prepare import PrepareVerbs
from fondaco.node.verbs.tasks import TaskVerbs

_GROUPS = (
    HouseVerbs,
    DataVerbs,
    PrepareVerbs,
    GrantVerbs,
    TaskVerbs,
    PointVerbs,
    GovernanceVerbs,
    MarketVerbs,
    DisputeVerbs,
    AuditVerbs,
)


class Verbs:
    """The verbs of one running node."""

    def __init__(self, node: Node) -> None:
        self._groups = [group(node) for group in _GROUPS]

    def table(self) -> dict[str, Verb]:
        """Verbs by name."""
        return {name: verb for group in self._groups for name, verb in group.table().items()}
