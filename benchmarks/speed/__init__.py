"""What the kernel is timed on and against."""
