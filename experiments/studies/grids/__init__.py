"""How close does every agent come to the exact optimum of every named grid map?"""
