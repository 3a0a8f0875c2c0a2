"""Parts that all estimates share: checks of arguments, Student's distribution, resampling."""
