"""The engine: loops over one row at a time in machine code, so that a seed's working set stays in the cache.

The reference is the torch code of ``rlkit.agents``, which reads like the papers. The engine does the same arithmetic on
the agents' own tensors and is held to it in float64. It imports neither agents nor environments.
"""
