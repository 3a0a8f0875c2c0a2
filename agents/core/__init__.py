"""What every agent shares; ``rlkit.agents`` exports the public part."""
