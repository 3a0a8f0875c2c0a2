"""Speed, beside the peers in one run: ratios, with the command that repeats them."""
