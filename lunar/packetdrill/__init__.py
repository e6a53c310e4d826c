"""packetdrill: scripts that say what packets come in, what a program calls, and what must come of it.

The language is that of Google's tool of this name; docs/packetdrill.md is the guide. A script's way: `lexer.py` makes
tokens, `parser.py` the model of `script.py`; `runner.py` goes through its events, over a `backend.py`: a stack under
test. `lunar_host.py` is a virtual host, in virtual time, `kernel_host.py` the machine's kernel. What events need is in
a file each: `packets.py` compares packets, `calls.py` makes system calls, `shell.py` obeys command lines, `code.py`
runs assertions about `tcp_info`. `cli.py` is `weave packetdrill`, `suite.py` what it does with a folder of scripts.
"""
