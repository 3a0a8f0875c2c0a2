"""Do linear policies and radial basis functions resist attacks that break multilayer perceptrons?"""
