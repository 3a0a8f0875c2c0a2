"""Measures of robustness, one per file; ``rlkit.adversarial`` exports them."""
