"""The commands of ``rlkit``, one file each: its options, its help text, and the calls that do its work.

A command imports its packages when it runs, so that ``--help`` is quick.
"""
