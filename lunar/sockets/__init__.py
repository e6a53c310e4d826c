"""Sockets as programs meet them, below any face: descriptors, options, system calls. Nothing here blocks."""
