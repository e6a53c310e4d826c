"""What joins a run with what is outside of it: UDP links to other processes, TAP devices of the machine's kernel."""
