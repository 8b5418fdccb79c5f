"""What does everything else stand on? Errors, time, settings, keys."""
