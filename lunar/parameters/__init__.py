"""The parameters that a host obeys, by the names of sysctl(8): what each is, where it is kept, what it may be.

parameter.py says what a parameter is; a file for each part of the stack has its rows (core.py, inet.py, tcp.py,
congestion.py ...; device.py those that each device has); table.py finds one by its name. Who reads and sets them comes
from above: the tool (lunar/net_tools/sysctl.py), the files of /proc/sys (lunar/proc), sysctl(2).

A parameter that the stack does not obey has no row: to set it is an error, since it would be believed in.
"""
