"""Attacks on observations, one algorithm per file; ``rlkit.adversarial`` exports them."""
