"""Do the tuned presets solve what they were tuned for, on seeds that had no part in it? Failures included."""
