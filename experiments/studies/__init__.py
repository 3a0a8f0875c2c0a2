"""Long experiments, one question a folder."""
