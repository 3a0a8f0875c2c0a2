"""Measures of robustness; ``rlkit.adversarial`` exports them."""
