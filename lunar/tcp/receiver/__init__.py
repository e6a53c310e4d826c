"""What comes in: its order, its memory, the window that is offered, and when it is acknowledged."""
