"""Attacks on observations, one algorithm a file; ``rlkit.adversarial`` exports them."""
