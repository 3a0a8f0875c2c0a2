"""Do policies agree with the exact one away from the states they visit, and what do they lose in changed worlds?"""
