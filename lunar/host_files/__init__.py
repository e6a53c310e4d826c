"""The files that a host has of its own; all others are the machine's.

tree.py has the calls that take a path, stored.py the files that a tapestry or a program writes (/etc/hosts ...),
proc.py what stands in /proc/sys/net and /proc/net. What open(2) makes is in lunar/sockets/host_file.py.
"""
