"""Does double Q-learning end the overestimation of action values?"""
