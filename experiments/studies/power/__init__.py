"""How many seeds does a claim need?"""
