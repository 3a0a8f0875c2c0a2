"""The gallery: every kind of figure and animation of the package, drawn small by one command into the documentation."""
