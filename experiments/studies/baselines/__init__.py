"""What does each baseline of REINFORCE buy, and does a smaller gamma trade bias for variance?"""
