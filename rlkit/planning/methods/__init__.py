"""Solution methods, one algorithm a file; ``rlkit.planning`` exports them."""
