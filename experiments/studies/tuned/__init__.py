"""Do the tuned presets reach their targets on seeds that were not used for tuning?"""
