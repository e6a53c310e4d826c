"""The network layer: devices, routes, IPv4 in and out, forwarding, ICMP.

A packet comes in by device.py and ip_input.py, leaves by ip_output.py and device.py, and passes through forward.py when
it is somebody else's. ip.py is the object that all of them work on.
"""
