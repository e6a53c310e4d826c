"""A router's advertisements, as a program of a host: `python -m lunar.radvd eth0 2001:db8:1::/64`."""
