"""Do defenses help against attacks that use the value of actions?"""
