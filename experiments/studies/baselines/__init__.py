"""The effect of each baseline of REINFORCE on variance and steps, and of a smaller gamma on bias and variance."""
