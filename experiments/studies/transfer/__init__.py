"""Do attacks made on one policy fool another? Transfer, one offset for all states, and the number of features."""
