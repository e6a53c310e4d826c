"""TCP, RFC 9293, as Linux does it.

demux.py finds the connection of a segment, input.py changes it, output.py sends. tcb.py is the state, sock.py what a
program calls, connect.py the handshake's active side, listen.py its passive side, time_wait.py what stays behind. Loss
is found in recovery.py and timeouts.py; congestion/ says how much may be in flight.
"""
