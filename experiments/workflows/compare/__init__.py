"""Is our agent the agent of stable-baselines3, and what does it cost? Equal settings, equal evaluation episodes."""

from .analysis import Comparison, compare, comparison_run, hyperparameter_table, peer_subject
from .sb3_job import SB3Job, order_for
from .sb3_process import Peer, PeerResult, require_peer

__all__ = [
    "Comparison",
    "Peer",
    "PeerResult",
    "SB3Job",
    "compare",
    "comparison_run",
    "hyperparameter_table",
    "order_for",
    "peer_subject",
    "require_peer",
]
