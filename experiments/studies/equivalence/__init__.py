"""Are rlkit's and stable-baselines3's short runs equivalent within a margin?"""
