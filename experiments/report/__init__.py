"""Results of commands: the record of a run, terminal output, HTML reports."""
