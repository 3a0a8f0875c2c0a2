"""Defenses of policies against attacks on observations, one idea per file; ``rlkit.adversarial`` exports them."""
