"""Is Q-learning more sample-efficient and policy gradient more stable, and what does each cost?"""
