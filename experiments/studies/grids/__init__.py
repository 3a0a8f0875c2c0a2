"""How near does every agent come to the exact optimum of every named grid map? Computed, not sampled."""
