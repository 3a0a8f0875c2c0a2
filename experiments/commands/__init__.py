"""The commands of ``rlkit``, a file each: its options, what ``--help`` says of it, and how it calls the rest.

They import what they need when they run, so that ``--help`` is quick.
"""
