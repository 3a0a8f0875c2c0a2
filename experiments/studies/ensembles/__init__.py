"""Is an ensemble of seeds a few percent better than its members?"""
