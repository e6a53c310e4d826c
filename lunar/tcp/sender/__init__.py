"""What goes out: segments, and when they may go."""
