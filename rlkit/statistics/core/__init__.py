"""What the estimates share: checks of arguments, Student's distribution, resampling."""
