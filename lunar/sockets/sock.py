"""Moved to lunar/net/sock.py."""
from lunar.net.sock import *  # noqa
from lunar.net.sock import Sock, POLLIN, POLLOUT, POLLERR, POLLHUP, POLLRDHUP, POLLPRI  # noqa
