"""Policies as attacks see them; ``rlkit.adversarial`` exports them."""
