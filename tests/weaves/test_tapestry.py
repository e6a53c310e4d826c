"""The tapestry: every mistake with its whole message, and what a right one expands to."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import attrs
import pytest
from _pytest.mark import ParameterSet

from weaves.programs import Program, program_of
from weaves.tapestry import DeviceDescription, HostDescription, StringDescription, Tapestry, TapestryError, parse, read

# Each entry: a title, a file, and after ">>>" the message with its line; "..." goes on with a message.
MISTAKES = r'''
== invalid TOML
[hosts.a]
eth0 10
>>> 2: not TOML: Expected '=' after a key in a key/value pair in column 6

== invalid TOML at the end
name = "x
>>> 1: not TOML: Unterminated string at the end of the file

== two hosts in two tables of one name
[hosts.a]
eth0 = "10.0.0.1/24"
[hosts.a]
>>> 3: [hosts.a]: this table is there twice, first in line 1; expected each table once

== a key twice
[hosts.a]
net = ""
net = ""
>>> 3: [hosts.a] net: this key is there twice, first in line 2; expected each key once

== unknown table
[host.a]
>>> 1: host: unknown key; did you mean "hosts"?

== unknown key, nothing near
zzz = 1
>>> 1: zzz: unknown key; expected one of beads, events, hosts, kernels, links, modules, stacks, tapestry, weaves

== unknown key of tapestry
[tapestry]
sede = 1
>>> 2: [tapestry] sede: unknown key; did you mean "seed"?

== unknown key of a host
[hosts.a]
cuont = 2
>>> 2: [hosts.a] cuont: unknown key; did you mean "count"?

== unknown key of a string
[hosts.a]
strings = [
  { runn = "x" },
]
>>> 3: [hosts.a] strings[0].runn: unknown key; did you mean "run"?

== unknown key of a link
[hosts.a]
eth0 = "10.0.0.1/24"
[hosts.b]
eth0 = "10.0.0.2/24"
[[links]]
ends = ["a", "b"]
dealy = "1ms"
>>> 7: [[links]] dealy: unknown key; did you mean "delay"?

== unknown key of a queue
[hosts.a]
eth0 = "10.0.0.1/24"
[hosts.b]
eth0 = "10.0.0.2/24"
[[links]]
ends = ["a", "b"]
queue = { limits = "1 packet" }
>>> 7: [[links]] queue.limits: unknown key; did you mean "limit"?

== a device of a wrong name
[hosts.a]
eth01 = "10.0.0.1/24"
>>> 2: [hosts.a] eth01: unknown key; did you mean "eth0"?

== a name that only the classes use
[hosts.a]
devices = 1
>>> 2: [hosts.a] devices: unknown key; expected one of count, eth0, files, names, net, on_error, stack, strings, tap0

== no working directory
[hosts.a]
strings = [{ run = "apps/site.py", cwd = "" }]
>>> 2: [hosts.a] strings[0].cwd: there is no such folder; expected the path of a folder, from the tapestry's folder

== seed of a wrong type
[tapestry]
seed = "1"
>>> 2: [tapestry] seed: "1" is a string; expected an integer

== a boolean is no integer
[tapestry]
seed = true
>>> 2: [tapestry] seed: true is a boolean; expected an integer

== name of a wrong type
[tapestry]
name = 5
>>> 2: [tapestry] name: 5 is an integer; expected a string

== duration without unit
[tapestry]
until = 60
>>> 2: [tapestry] until: 60 is an integer; expected a duration with a unit, such as "5ms"

== unknown unit of time
[tapestry]
until = "60 parsecs"
>>> 2: [tapestry] until: "60 parsecs" is not a duration; expected a number and a unit (ns, us, ms, s, m, h, d)

== negative until
[tapestry]
until = "-1s"
>>> 2: [tapestry] until: "-1s" is negative; expected a duration of 0 or more

== until beyond 64 bits
[tapestry]
until="9999999d"
>>> 2: [tapestry] until: "9999999d" is too long; expected a duration below 146 years

== on_error misspelt
[tapestry]
on_error = "stpo"
>>> 2: [tapestry] on_error: "stpo" is not known; did you mean "stop"?

== on_error unknown
[tapestry]
on_error = "x"
>>> 2: [tapestry] on_error: "x" is not known; expected "stop" or "continue" or "restart"

== on_error of a wrong type
[tapestry]
on_error = ["x"]
>>> 2: [tapestry] on_error: this is an array; expected "stop" or "continue" or "restart"

== epoch that is no date
[tapestry]
epoch = "soon"
>>> 2: [tapestry] epoch: "soon" is not a date; expected a date and time from 1970 to 2116, such as
... "2000-01-01T00:00:00Z"

== epoch before 1970
[tapestry]
epoch = 1960-01-01
>>> 2: [tapestry] epoch: 1960-01-01T00:00:00+00:00 is out of range; expected a date and time from 1970 to 2116,
... such as "2000-01-01T00:00:00Z"

== epoch that is only a time
[tapestry]
epoch = 07:00:00
>>> 2: [tapestry] epoch: 07:00:00 is a date or time; expected a date and time from 1970 to 2116, such as
... "2000-01-01T00:00:00Z"

== tapestry is no table
tapestry = 3
>>> 1: tapestry: 3 is an integer; expected a table

== hosts is no table
[[hosts]]
>>> 1: hosts: this is an array; expected a table

== a host is no table
[hosts]
count = 3
>>> 2: [hosts] count: 3 is an integer; expected a table

== links is no array
[links]
ends = []
>>> 1: [links]: this is a table; expected an array of tables

== strings is no array
[hosts.a]
strings = { run = "x" }
>>> 2: [hosts.a] strings: this is a table; expected an array of tables

== a string is no table
[hosts.a]
strings = ["x"]
>>> 2: [hosts.a] strings[0]: "x" is a string; expected a table

== net of a wrong type
[hosts.a]
net = 5
>>> 2: [hosts.a] net: 5 is an integer; expected a string or an array of strings

== a line of net of a wrong type
[hosts.a]
net = ["x", 5]
>>> 2: [hosts.a] net: 5 is an integer; expected a string or an array of strings

== names is no array
[hosts.a]
names = "x"
>>> 2: [hosts.a] names: "x" is a string; expected an array of strings

== an alias of a wrong type
[hosts.a]
names = ["x", 1.5]
>>> 2: [hosts.a] names[1]: 1.5 is a number; expected a string

== address of a wrong type
[hosts.a]
eth0 = 10
>>> 2: [hosts.a] eth0: 10 is an integer; expected a string or an array of strings

== count of a wrong type
[hosts.a]
count = "3"
>>> 2: [hosts.a] count: "3" is a string; expected an integer

== count 0
[hosts.a]
count = 0
>>> 2: [hosts.a] count: 0 is too few; expected a count of 1 or more

== count of a fraction
[hosts.a]
count = 1.0
>>> 2: [hosts.a] count: 1.0 is a number; expected an integer

== background of a wrong type
[hosts.a]
strings = [
  { run = "apps/site.py", background = 1 },
]
>>> 3: [hosts.a] strings[0].background: 1 is an integer; expected true or false

== args is no array
[hosts.a]
strings = [
  { call = "apps.visit:main", args = "x" },
]
>>> 3: [hosts.a] strings[0].args: "x" is a string; expected an array

== kwargs is no table
[hosts.a]
strings = [
  { call = "apps.visit:main", kwargs = [] },
]
>>> 3: [hosts.a] strings[0].kwargs: this is an array; expected a table

== env of a wrong type
[hosts.a]
strings = [
  { run = "apps/site.py", env = { A = 1 } },
]
>>> 3: [hosts.a] strings[0].env.A: 1 is an integer; expected a string

== start without unit
[hosts.a]
strings = [
  { run = "apps/site.py", start = 5 },
]
>>> 3: [hosts.a] strings[0].start: 5 is an integer; expected a duration with a unit, such as "5ms"

== a UDP link without local
[hosts.a]
eth0 = "10.0.0.1/24"
[[links]]
ends = ["a"]
udp = { remote = "127.0.0.1:8193" }
>>> 5: [[links]] udp: no local; expected local = PORT or local = "ADDRESS:PORT", of this process

== a UDP link without remote
[hosts.a]
eth0 = "10.0.0.1/24"
[[links]]
ends = ["a"]
udp = { local = 8192 }
>>> 5: [[links]] udp: no remote; expected remote = "ADDRESS:PORT", of the other process

== an unknown key of a UDP link
[hosts.a]
eth0 = "10.0.0.1/24"
[[links]]
ends = ["a"]
udp = { local = 8192, remot = "127.0.0.1:8193" }
>>> 5: [[links]] udp.remot: unknown key; did you mean "remote"?

== a UDP link that is no table
[hosts.a]
eth0 = "10.0.0.1/24"
[[links]]
ends = ["a"]
udp = 8192
>>> 5: [[links]] udp: 8192 is an integer; expected a table

== a port out of range
[hosts.a]
eth0 = "10.0.0.1/24"
[[links]]
ends = ["a"]
udp = { local = 81920, remote = "127.0.0.1:8193" }
>>> 5: [[links]] udp.local: 81920: 81920 is no port; expected local with one from 1 to 65535

== a name in place of an address
[hosts.a]
eth0 = "10.0.0.1/24"
[[links]]
ends = ["a"]
udp = { local = 8192, remote = "peer:8193" }
>>> 5: [[links]] udp.remote: "peer" is no address; expected remote = "ADDRESS:PORT", such as "127.0.0.1:8193" or
... "[::1]:8193"

== a remote that is a port alone
[hosts.a]
eth0 = "10.0.0.1/24"
[[links]]
ends = ["a"]
udp = { local = 8192, remote = 8193 }
>>> 5: [[links]] udp.remote: 8193 is an integer; expected "ADDRESS:PORT", such as "127.0.0.1:8193"

== another address without a key
[hosts.a]
eth0 = "10.0.0.1/24"
[[links]]
ends = ["a"]
udp = { local = "192.0.2.1:8192", remote = "192.0.2.2:8193" }
>>> 5: [[links]] udp: 192.0.2.2:8193 is not of this machine's loopback; expected key = "SECRET" or key_file =
... "FILE", too, so that each datagram is authenticated

== local of the machine alone for a remote one
[hosts.a]
eth0 = "10.0.0.1/24"
[[links]]
ends = ["a"]
udp = { local = 8192, remote = "192.0.2.2:8193", key = "a text of many letters" }
>>> 5: [[links]] udp: local 127.0.0.1:8192 is of this machine alone, remote 192.0.2.2:8193 is not; expected local =
... "ADDRESS:PORT" with an address that the remote one can reach

== a short key, which is not told
[hosts.a]
eth0 = "10.0.0.1/24"
[[links]]
ends = ["a"]
udp = { local = 8192, remote = "127.0.0.1:8193", key = "hush" }
>>> 5: [[links]] udp.key: a key of 4 characters; expected 16 or more, made by chance

== a key and a file of one
[hosts.a]
eth0 = "10.0.0.1/24"
[[links]]
ends = ["a"]
udp = { local = 8192, remote = "127.0.0.1:8193", key = "a text of many letters", key_file = "k" }
>>> 5: [[links]] udp.key_file: there is a key, too; expected one of the two

== an MTU with no room in datagrams
[hosts.a]
eth0 = "10.0.0.1/24"
[[links]]
ends = ["a"]
mtu = 65494
udp = { local = 8192, remote = "127.0.0.1:8193" }
>>> 5: [[links]] mtu: mtu 65494: its frames have no room in datagrams; expected 65493 at most on a UDP link

== hardware addresses of who is elsewhere
[hosts.a]
eth0 = "10.0.0.1/24"
[[links]]
ends = ["a"]
arp = false
udp = { local = 8192, remote = "127.0.0.1:8193" }
>>> 5: [[links]] arp: nobody here knows the hardware address of who is behind udp; expected arp = true

== a port that another link has
[hosts.a]
eth0 = "10.0.0.1/24"
[[links]]
ends = ["a"]
udp = { local = 8192, remote = "127.0.0.1:8193" }
[hosts.b]
eth0 = "10.0.1.1/24"
[[links]]
ends = ["b"]
udp = { local = "127.0.0.1:8192", remote = "127.0.0.1:8194" }
>>> 10: [[links]] udp.local: another link has 127.0.0.1:8192 already, in line 5; expected a port of its own for
... each link

== a UDP link without ends
[hosts.a]
eth0 = "10.0.0.1/24"
[[links]]
udp = { local = 8192, remote = "127.0.0.1:8193" }
>>> 3: [[links]] ends: no device; expected one or more on a link to another process

== ends is no array
[hosts.a]
eth0 = "10.0.0.1/24"
[hosts.b]
eth0 = "10.0.0.2/24"
[[links]]
ends = "a"
>>> 6: [[links]] ends: "a" is a string; expected an array of strings

== rate without unit
[hosts.a]
eth0 = "10.0.0.1/24"
[hosts.b]
eth0 = "10.0.0.2/24"
[[links]]
ends = ["a", "b"]
rate = 100
>>> 7: [[links]] rate: 100 is an integer; expected a rate with a unit, such as "100mbit"

== unknown unit of a rate
[hosts.a]
eth0 = "10.0.0.1/24"
[hosts.b]
eth0 = "10.0.0.2/24"
[[links]]
ends = ["a", "b"]
rate = "100 mbits"
>>> 7: [[links]] rate: "100 mbits" is not a rate; expected a number and a unit (bit ... tbit, or bps ... tbps
... for bytes), such as "100mbit"

== rate 0
[hosts.a]
eth0 = "10.0.0.1/24"
[hosts.b]
eth0 = "10.0.0.2/24"
[[links]]
ends = ["a", "b"]
rate = "0bit"
>>> 7: [[links]] rate: "0bit" is no rate to send at; expected at least 1bit

== delay without unit
[hosts.a]
eth0 = "10.0.0.1/24"
[hosts.b]
eth0 = "10.0.0.2/24"
[[links]]
ends = ["a", "b"]
delay = "5"
>>> 7: [[links]] delay: "5" is not a duration; expected a number and a unit (ns, us, ms, s, m, h, d)

== negative delay
[hosts.a]
eth0 = "10.0.0.1/24"
[hosts.b]
eth0 = "10.0.0.2/24"
[[links]]
ends = ["a", "b"]
delay = "-5ms"
>>> 7: [[links]] delay: "-5ms" is negative; expected a duration of 0 or more

== loss above 100%
[hosts.a]
eth0 = "10.0.0.1/24"
[hosts.b]
eth0 = "10.0.0.2/24"
[[links]]
ends = ["a", "b"]
loss = "101%"
>>> 7: [[links]] loss: "101%" is out of range; expected a percentage from "0%" to "100%", or a number from 0 to
... 1

== loss above 1
[hosts.a]
eth0 = "10.0.0.1/24"
[hosts.b]
eth0 = "10.0.0.2/24"
[[links]]
ends = ["a", "b"]
loss = 1.5
>>> 7: [[links]] loss: 1.5 is out of range; expected a percentage from "0%" to "100%", or a number from 0 to 1

== loss text without percent sign
[hosts.a]
eth0 = "10.0.0.1/24"
[hosts.b]
eth0 = "10.0.0.2/24"
[[links]]
ends = ["a", "b"]
loss = "0.1"
>>> 7: [[links]] loss: "0.1" is not a loss; expected a percentage from "0%" to "100%", or a number from 0 to 1

== loss nan
[hosts.a]
eth0 = "10.0.0.1/24"
[hosts.b]
eth0 = "10.0.0.2/24"
[[links]]
ends = ["a", "b"]
loss = nan
>>> 7: [[links]] loss: nan is out of range; expected a percentage from "0%" to "100%", or a number from 0 to 1

== loss of a wrong type
[hosts.a]
eth0 = "10.0.0.1/24"
[hosts.b]
eth0 = "10.0.0.2/24"
[[links]]
ends = ["a", "b"]
loss = true
>>> 7: [[links]] loss: true is a boolean; expected a percentage such as "1%", or a number from 0 to 1

== queue without unit
[hosts.a]
eth0 = "10.0.0.1/24"
[hosts.b]
eth0 = "10.0.0.2/24"
[[links]]
ends = ["a", "b"]
queue = "100"
>>> 7: [[links]] queue: "100" is not a queue limit; expected a number of packets or bytes (b, kb, mb, gb), such
... as "100 packets" or "64 kb"

== queue of nothing
[hosts.a]
eth0 = "10.0.0.1/24"
[hosts.b]
eth0 = "10.0.0.2/24"
[[links]]
ends = ["a", "b"]
queue = "0 packets"
>>> 7: [[links]] queue: "0 packets" holds nothing; expected at least 1 packet or 1 b

== rows of losses without losses
[hosts.a]
eth0 = "10.0.0.1/24"
[hosts.b]
eth0 = "10.0.0.2/24"
[[links]]
ends = ["a", "b"]
loss_burst = 3
>>> 7: [[links]] loss_burst: this link loses nothing; expected loss, too

== how far nothing is reordered
[hosts.a]
eth0 = "10.0.0.1/24"
[hosts.b]
eth0 = "10.0.0.2/24"
[[links]]
ends = ["a", "b"]
reorder_by = "5ms"
>>> 7: [[links]] reorder_by: nothing is reordered; expected reorder, too

== key of another kind of queue
[hosts.a]
eth0 = "10.0.0.1/24"
[hosts.b]
eth0 = "10.0.0.2/24"
[[links]]
ends = ["a", "b"]
queue = { limit = "10 packets", ecn = true }
>>> 7: [[links]] queue.ecn: a queue of kind "fifo" has no ecn; expected kind = "red"

== thresholds in other units
[hosts.a]
eth0 = "10.0.0.1/24"
[hosts.b]
eth0 = "10.0.0.2/24"
[[links]]
ends = ["a", "b"]
queue = { kind = "red", limit = "10 packets", min = "5 kb" }
>>> 7: [[links]] queue.min: min and limit have different units; expected a number of packets

== thresholds the wrong way round
[hosts.a]
eth0 = "10.0.0.1/24"
[hosts.b]
eth0 = "10.0.0.2/24"
[[links]]
ends = ["a", "b"]
queue = { kind = "red", limit = "100 packets", min = "50 packets", max = "40 packets" }
>>> 7: [[links]] queue.min: min is 50 and max 40; expected min up to max

== threshold beyond the limit
[hosts.a]
eth0 = "10.0.0.1/24"
[hosts.b]
eth0 = "10.0.0.2/24"
[[links]]
ends = ["a", "b"]
queue = { kind = "red", limit = "100 packets", max = "400 packets" }
>>> 7: [[links]] queue.max: max is 400 and limit 100; expected max up to limit

== queue of a wrong type
[hosts.a]
eth0 = "10.0.0.1/24"
[hosts.b]
eth0 = "10.0.0.2/24"
[[links]]
ends = ["a", "b"]
queue = 100
>>> 7: [[links]] queue: 100 is an integer; expected a limit such as "100 packets", or a table

== unknown queue kind
[hosts.a]
eth0 = "10.0.0.1/24"
[hosts.b]
eth0 = "10.0.0.2/24"
[[links]]
ends = ["a", "b"]
queue = { kind = "rde" }
>>> 7: [[links]] queue.kind: "rde" is not known; did you mean "red"?

== limit of a wrong type
[hosts.a]
eth0 = "10.0.0.1/24"
[hosts.b]
eth0 = "10.0.0.2/24"
[[links]]
ends = ["a", "b"]
queue = { kind = "fifo", limit = 5 }
>>> 7: [[links]] queue.limit: 5 is an integer; expected a limit with a unit, such as "100 packets" or "64 kb"

== MTU too small
[hosts.a]
eth0 = "10.0.0.1/24"
[hosts.b]
eth0 = "10.0.0.2/24"
[[links]]
ends = ["a", "b"]
mtu = 67
>>> 7: [[links]] mtu: 67 is out of range; expected an MTU of 68 to 65535 bytes

== MTU too large
[hosts.a]
eth0 = "10.0.0.1/24"
[hosts.b]
eth0 = "10.0.0.2/24"
[[links]]
ends = ["a", "b"]
mtu = 65536
>>> 7: [[links]] mtu: 65536 is out of range; expected an MTU of 68 to 65535 bytes

== MTU of a wrong type
[hosts.a]
eth0 = "10.0.0.1/24"
[hosts.b]
eth0 = "10.0.0.2/24"
[[links]]
ends = ["a", "b"]
mtu = "1500"
>>> 7: [[links]] mtu: "1500" is a string; expected an integer

== address without prefix
[hosts.a]
eth0 = "10.9.9"
>>> 2: [hosts.a] eth0: 10.9.9 is not an address; expected an IPv4 address with a prefix length, such as
... "10.0.0.2/24"

== empty address
[hosts.a]
eth0 = ""
>>> 2: [hosts.a] eth0: no address; expected an IPv4 address with a prefix length, such as "10.0.0.2/24"

== no addresses
[hosts.a]
eth0 = []
>>> 2: [hosts.a] eth0: no address; expected an IPv4 address with a prefix length, such as "10.0.0.2/24"

== last part above 255
[hosts.a]
eth0 = ["10.0.0.1/24", "10.0.0.256/24"]
>>> 2: [hosts.a] eth0[1]: 10.0.0.256/24 is outside 10.0.0.0/24; expected 10.0.0.1 to 10.0.0.254

== out of the network
[hosts.a]
eth0 = "10.1.70000/16"
>>> 2: [hosts.a] eth0: 10.1.70000/16 is outside 10.1.0.0/16; expected 10.1.0.1 to 10.1.255.254

== network address
[hosts.a]
eth0 = "10.0.0.0/24"
>>> 2: [hosts.a] eth0: 10.0.0.0/24 is the network address of its network; expected 10.0.0.1 to 10.0.0.254

== broadcast address
[hosts.a]
eth0 = "10.0.0.255/24"
>>> 2: [hosts.a] eth0: 10.0.0.255/24 is the broadcast address of its network; expected 10.0.0.1 to 10.0.0.254

== IPv6 group
[hosts.a]
eth0="ff02::1/64"
>>> 2: [hosts.a] eth0: ff02::1/64 is not an address a device can have; expected an IPv6 address with
... a prefix length, such as "2001:db8::2/64"

== an IPv4 address as IPv6
[hosts.a]
eth0="::10.0.0.1/96"
>>> 2: [hosts.a] eth0: ::10.0.0.1/96 is not an address a device can have; expected an IPv6 address with
... a prefix length, such as "2001:db8::2/64"

== auto twice
[hosts.a]
eth0 = ["auto", "10.0.0.1/24", "auto"]
>>> 2: [hosts.a] eth0[2]: "auto" is there twice; expected it once on a device

== one IPv6 address twice on a device
[hosts.a]
eth0 = ["2001:db8::1/64", "2001:db8:0::1/64"]
>>> 2: [hosts.a] eth0[1]: 2001:db8::1 is there twice; expected each address once on a device

== an IPv6 address without a neighbour
[hosts.a]
eth0 = ["10.0.0.1/24", "2001:db8::1/64"]
[hosts.b]
eth0 = ["10.0.0.2/24", "2001:db8:1::2/64"]
[[links]]
ends = ["a", "b"]
>>> 6: [[links]] ends: 2001:db8::1/64 of a.eth0 is in no network of this link; expected an address in 2001:db8:1::/64

== two hosts without a family in common
[hosts.a]
eth0 = "10.0.0.1/24"
[hosts.b]
eth0 = "2001:db8::2/64"
[[links]]
ends = ["a", "b"]
>>> 6: [[links]] ends: 10.0.0.1/24 of a.eth0 is in no network of this link; expected another device with IPv4

== a file without a path
[hosts.a]
files = { "hosts" = "" }
>>> 2: [hosts.a] files.hosts: "hosts" is not the path of a file that a host can have; expected one like
... "/etc/resolv.conf"

== a file of proc
[hosts.a]
files = { "/proc/sys/net/ipv4/ip_forward" = "1" }
>>> 2: [hosts.a] files."/proc/sys/net/ipv4/ip_forward": "/proc/sys/net/ipv4/ip_forward" is not the path of a file that
... a host can have; expected one like "/etc/resolv.conf"

== a file that is no text
[hosts.a]
files = { "/etc/hosts" = 1 }
>>> 2: [hosts.a] files."/etc/hosts": 1 is an integer; expected a string

== arp as a word
[tapestry]
arp = "on"
>>> 2: [tapestry] arp: "on" is a string; expected true or false

== prefix above 32
[hosts.a]
eth0 = "10.0.0.1/33"
>>> 2: [hosts.a] eth0: 10.0.0.1/33 is not an address; expected an IPv4 address with a prefix length, such as
... "10.0.0.2/24"

== multicast address
[hosts.a]
eth0 = "224.0.0.1/24"
>>> 2: [hosts.a] eth0: 224.0.0.1/24 is not an address a device can have; expected an IPv4 address with a prefix
... length, such as "10.0.0.2/24"

== one address twice on a device
[hosts.a]
eth0 = ["10.0.0.1/24", "10.0.0.1/16"]
>>> 2: [hosts.a] eth0[1]: 10.0.0.1 is there twice; expected each address once on a device

== a group too large for its network
[hosts.a]
count = 300
eth0 = "10.0.0.{i+1}/24"
>>> 3: [hosts.a] eth0: 10.0.0.255/24 is the broadcast address of its network; expected 10.0.0.1 to 10.0.0.254

== operator that is not offered
[hosts.a]
eth0 = "10.0.0.{i**2}/24"
>>> 2: [hosts.a] eth0: "{i**2}" cannot be computed; expected arithmetic over i (+ - * // %), or {host}; a plain
... brace is doubled

== brace that does not close
[hosts.a]
eth0 = "10.0.0.{i/24"
>>> 2: [hosts.a] eth0: "10.0.0.{i/24" has a single "{"; expected arithmetic over i (+ - * // %), or {host}; a
... plain brace is doubled

== brace that does not open
[hosts.a]
net = """
route add }
"""
>>> 3: [hosts.a] net: "route add }" has a single "}"; expected arithmetic over i (+ - * // %), or {host}; a
... plain brace is doubled

== a call in an expression
[hosts.a]
net = "{__import__(1)}"
>>> 2: [hosts.a] net: "{__import__(1)}" cannot be computed; expected arithmetic over i (+ - * // %), or {host};
... a plain brace is doubled

== division by zero
[hosts.a]
net = "{1 // i}"
>>> 2: [hosts.a] net: "{1 // i}" fails for i = 0: integer division or modulo by zero; expected arithmetic over i
... (+ - * // %), or {host}; a plain brace is doubled

== a width that fills the memory
[hosts.a]
net = "{i:>9999}"
>>> 2: [hosts.a] net: "{i:>9999}" has a bad format; expected the format of an integer, such as "{i:03}"

== a format of floats
[hosts.a]
net="{i:f}"
>>> 2: [hosts.a] net: "{i:f}" has a bad format; expected the format of an integer, such as "{i:03}"

== unknown name in an expression
[hosts.a]
net="{j}"
>>> 2: [hosts.a] net: "{j}" cannot be computed; expected arithmetic over i (+ - * // %), or {host}; a plain
... brace is doubled

== arithmetic on the host name
[hosts.a]
net="{host+1}"
>>> 2: [hosts.a] net: "{host+1}" cannot be computed; expected arithmetic over i (+ - * // %), or {host}; a plain
... brace is doubled

== empty expression
[hosts.a]
net="{}"
>>> 2: [hosts.a] net: "{}" cannot be computed; expected arithmetic over i (+ - * // %), or {host}; a plain brace
... is doubled

== True is no number here
[hosts.a]
net="{True}"
>>> 2: [hosts.a] net: "{True}" cannot be computed; expected arithmetic over i (+ - * // %), or {host}; a plain
... brace is doubled

== an attribute in an expression
[hosts.a]
net="{i.real}"
>>> 2: [hosts.a] net: "{i.real}" cannot be computed; expected arithmetic over i (+ - * // %), or {host}; a plain
... brace is doubled

== the line within a multi-line text
[hosts.a]
net = """\
  one
  {i} two\n

  {x}
"""
>>> 6: [hosts.a] net: "{x}" cannot be computed; expected arithmetic over i (+ - * // %), or {host}; a plain
... brace is doubled

== a host and a group member of one name
[hosts.client]
count = 2
[hosts.client-0]
>>> 3: [hosts.client-0]: two hosts have the name "client-0", first in line 1; expected a name of its own for
... each host

== a host and a kernel of one name
[hosts.a]
eth0 = "10.0.0.1/24"
[kernels.a]
eth0 = "10.0.0.2/24"
>>> 3: [kernels.a]: a host has the name "a" already, in line 1; expected a name of its own

== an alias and a host of one name
[hosts.a]
names = ["b"]
[hosts.b]
>>> 3: [hosts.b]: two hosts have the name "b", first in line 2; expected a name of its own for each host

== one alias for a whole group
[hosts.a]
count = 2
names = ["web"]
>>> 3: [hosts.a] names[0]: two hosts have the name "web"; expected a name of its own for each host

== a host name with a blank
[hosts."a b"]
>>> 1: [hosts."a b"]: "a b" is not a host name; expected letters, digits, "-", "." and "_", such as "client-0"

== a host named like a device
[hosts."a.eth0"]
>>> 1: [hosts."a.eth0"]: "a.eth0" ends like a device; expected letters, digits, "-", "." and "_", such as
... "client-0"

== an alias that is no name
[hosts.a]
names=["-"]
>>> 2: [hosts.a] names[0]: "-" is not a host name; expected letters, digits, "-", "." and "_", such as
... "client-0"

== missing program
[hosts.a]
strings = [
  { run = "apps/sight.py" },
]
>>> 3: [hosts.a] strings[0].run: there is no program "apps/sight.py"; expected a Python file, from the
... tapestry's folder

== missing module
[hosts.a]
strings = [
  { run = "python -m nothing" },
]
>>> 3: [hosts.a] strings[0].run: there is no module "nothing"; expected one in the tapestry's folder or
... installed

== package without __main__
[hosts.a]
strings = [
  { run = "python -m pkg" },
]
>>> 3: [hosts.a] strings[0].run: the package "pkg" has no __main__; expected a module that runs

== missing submodule
[hosts.a]
strings = [
  { run = "python -m pkg.sub" },
]
>>> 3: [hosts.a] strings[0].run: there is no module "pkg.sub"; expected one in the tapestry's folder or
... installed

== option of python
[hosts.a]
strings = [
  { run = "python -c 1" },
]
>>> 3: [hosts.a] strings[0].run: "python -c" takes an option that a virtual host does not have; expected
... "apps/site.py ...", "python apps/site.py ..." or "python -m package ..."

== python alone
[hosts.a]
strings = [
  { run = "python" },
]
>>> 3: [hosts.a] strings[0].run: there is no program; expected "apps/site.py ...", "python apps/site.py ..." or
... "python -m package ..."

== empty program line
[hosts.a]
strings = [
  { run = "" },
]
>>> 3: [hosts.a] strings[0].run: there is no program; expected "apps/site.py ...", "python apps/site.py ..." or
... "python -m package ..."

== open quote in a program line
[hosts.a]
strings = [
  { run = "apps/site.py 'x" },
]
>>> 3: [hosts.a] strings[0].run: No closing quotation; expected a program line

== call without function
[hosts.a]
strings = [
  { call = "apps.visit" },
]
>>> 3: [hosts.a] strings[0].call: "apps.visit" is not a function; expected "package.module:function"

== missing module of a call
[hosts.a]
strings = [
  { call = "apps.nothing:main" },
]
>>> 3: [hosts.a] strings[0].call: there is no module "apps.nothing"; expected one in the tapestry's folder or
... installed

== call of a namespace
[hosts.a]
strings = [
  { call = "bare:main" },
]
>>> 3: [hosts.a] strings[0].call: "bare" is a folder without __init__.py; expected a module with the function

== run and call
[hosts.a]
strings = [
  { call = "apps.visit:main", run = "apps/site.py" },
]
>>> 3: [hosts.a] strings[0]: both run and call; expected run = "program.py ..." or call =
... "package.module:function"

== neither run nor call
[hosts.a]
strings = [
  { start = "1s" },
]
>>> 3: [hosts.a] strings[0]: neither run nor call; expected run = "program.py ..." or call =
... "package.module:function"

== args with run
[hosts.a]
strings = [
  { run = "apps/site.py", args = [1] },
]
>>> 3: [hosts.a] strings[0].args: there is no call to pass these to; expected arguments in the program line of
... run

== kwargs with run
[hosts.a]
strings = [
  { run = "apps/site.py", kwargs = {a=1} },
]
>>> 3: [hosts.a] strings[0].kwargs: there is no call to pass these to; expected arguments in the program line of
... run

== a program that is a folder
[hosts.a]
strings = [
  { run = "apps" },
]
>>> 3: [hosts.a] strings[0].run: there is no program "apps"; expected a Python file, from the tapestry's folder

== stop before start
[hosts.a]
strings = [
  { run = "apps/site.py", start = "2s", stop = "1s" },
]
>>> 3: [hosts.a] strings[0].stop: stops before it starts; expected a time in the run that is not before start

== negative start, computed
[hosts.a]
strings = [
  { run = "apps/site.py", start = "{i-1}s" },
]
>>> 3: [hosts.a] strings[0].start: "-1s" is negative; expected a duration of 0 or more

== unknown unit of stop
[hosts.a]
strings = [
  { run = "apps/site.py", stop = "1x" },
]
>>> 3: [hosts.a] strings[0].stop: "1x" is not a duration; expected a number and a unit (ns, us, ms, s, m, h, d)

== the second of [[strings]]
[hosts.a]
[[hosts.a.strings]]
run = "apps/site.py"
[[hosts.a.strings]]
run = "nothing.py"
>>> 5: [[hosts.a.strings]] run: there is no program "nothing.py"; expected a Python file, from the tapestry's
... folder

== env with an open brace
[hosts.a]
strings = [
  { call="json:loads", env = {A = "{"} },
]
>>> 3: [hosts.a] strings[0].env.A: "{" has a single "{"; expected arithmetic over i (+ - * // %), or {host}; a
... plain brace is doubled

== null character in a program line
[hosts.a]
strings = [
  { run = "apps/site.py \u0000" },
]
>>> 3: [hosts.a] strings[0].run: there is a null character; expected a program line

== no ends
[hosts.a]
eth0 = "10.0.0.1/24"
[hosts.b]
eth0 = "10.0.0.2/24"
[[links]]
>>> 5: [[links]] ends: 0 devices; expected a link between 2 devices or more

== empty ends
[hosts.a]
eth0 = "10.0.0.1/24"
[hosts.b]
eth0 = "10.0.0.2/24"
[[links]]
ends = []
>>> 6: [[links]] ends: 0 devices; expected a link between 2 devices or more

== one end
[hosts.a]
eth0 = "10.0.0.1/24"
[hosts.b]
eth0 = "10.0.0.2/24"
[[links]]
ends = ["a"]
>>> 6: [[links]] ends: 1 device; expected a link between 2 devices or more, or udp = { ... } to another process

== missing host
[hosts.a]
eth0 = "10.0.0.1/24"
[hosts.b]
eth0 = "10.0.0.2/24"
[[links]]
ends = ["a", "c"]
>>> 6: [[links]] ends[1]: there is no host "c"; expected one of a, b

== missing device
[hosts.a]
eth0 = "10.0.0.1/24"
[hosts.b]
eth0 = "10.0.0.2/24"
[[links]]
ends = ["a", "b.eth1"]
>>> 6: [[links]] ends[1]: b has no eth1; expected one of eth0

== self link
[hosts.a]
eth0 = "10.0.0.1/24"
[hosts.b]
eth0 = "10.0.0.2/24"
[[links]]
ends = ["a", "a.eth0"]
>>> 6: [[links]] ends[1]: a.eth0 is on this link twice; expected a link between different devices

== a device on two links
[hosts.a]
eth0 = "10.0.0.1/24"
[hosts.b]
eth0 = "10.0.0.2/24"
[[links]]
ends = ["a", "b"]
[[links]]
ends = ["b", "a"]
>>> 8: [[links]] ends[0]: b.eth0 is on another link already, in line 6; expected each device on one link

== an end without device
[hosts.a]
eth0 = "10.0.0.1/24"
[hosts.b]
eth0 = "10.0.0.2/24"
[hosts.n]
[[links]]
ends = ["a", "n"]
>>> 7: [[links]] ends[1]: n has no device; expected eth0 = "ADDRESS/PREFIX" in [hosts.n]

== an end with several devices
[hosts.a]
eth0 = "10.0.0.1/24"
[hosts.b]
eth0 = "10.0.0.2/24"
[hosts.r]
eth0 = "10.0.0.3/24"
eth1 = "10.0.1.3/24"
[[links]]
ends = ["a", "r"]
>>> 9: [[links]] ends[1]: r has several devices (eth0, eth1); expected one named, as in "r.eth0"

== misspelt host
[hosts.a]
eth0 = "10.0.0.1/24"
[hosts.b]
eth0 = "10.0.0.2/24"
[hosts.server]
eth0 = "10.0.0.3/24"
[[links]]
ends = ["a", "sever"]
>>> 8: [[links]] ends[1]: there is no host "sever"; did you mean "server"?

== no network in common
[hosts.a]
eth0 = "10.0.0.1/24"
[hosts.b]
eth0 = "10.9.0.2/24"
[[links]]
ends = ["a", "b"]
>>> 6: [[links]] ends: 10.0.0.1/24 of a.eth0 is in no network of this link; expected an address in 10.9.0.0/24

== one address twice on a link
[hosts.a]
eth0 = "10.0.0.1/24"
[hosts.b]
eth0 = "10.0.0.1/24"
[[links]]
ends = ["a", "b"]
>>> 6: [[links]] ends: a.eth0 and b.eth0 both have 10.0.0.1; expected each address once on a link

== one of three in no network
[hosts.a]
eth0 = "10.0.0.1/24"
[hosts.b]
eth0 = "10.0.0.2/24"
[hosts.c]
eth0 = "10.0.5.3/24"
[[links]]
ends = ["a", "b", "c"]
>>> 8: [[links]] ends: 10.0.5.3/24 of c.eth0 is in no network of this link; expected an address in 10.0.0.0/24

== networks that only one side contains
[hosts.a]
eth0 = "10.0.0.1/16"
[hosts.b]
eth0 = "10.0.5.1/24"
[[links]]
ends = ["a", "b"]
>>> 6: [[links]] ends: 10.0.0.1/16 of a.eth0 is in no network of this link; expected an address in 10.0.5.0/24

== two links of one name
[hosts.a]
count = 4
eth0 = "10.0.0.{i+1}/24"
[[links]]
name = "x"
ends = ["a-0", "a-1"]
[[links]]
name = "x"
ends = ["a-2", "a-3"]
>>> 8: [[links]] name: two links have the name "x", first in line 5; expected a name of its own for each link

== empty name of an end
[hosts.a]
eth0 = "10.0.0.1/24"
[hosts.b]
eth0 = "10.0.0.2/24"
[[links]]
ends = ["a", "b", ""]
>>> 6: [[links]] ends[2]: there is no host ""; expected one of a, b

== host routes alone
[hosts.a]
eth0 = "10.0.0.1/32"
[hosts.b]
eth0 = "10.0.0.2/32"
[[links]]
ends = ["a", "b"]
>>> 6: [[links]] ends: 10.0.0.1/32 of a.eth0 is in no network of this link; expected an address in 10.0.0.2/32

== a group and its member on one link
[hosts.c]
count = 2
eth0 = "10.0.0.{i+1}/24"
[[links]]
ends = ["c", "c-1"]
>>> 5: [[links]] ends[1]: c-1.eth0 is on this link twice; expected a link between different devices

== a member that the group does not have
[hosts.c]
count = 2
eth0 = "10.0.0.{i+1}/24"
[[links]]
ends = ["c-0", "c-2"]
>>> 5: [[links]] ends[1]: there is no host "c-2"; expected one of c
'''


def mistakes() -> list[ParameterSet]:
    params = []
    for entry in MISTAKES.removeprefix("\n== ").split("\n\n== "):
        title, _, rest = entry.partition("\n")
        text, _, message = rest.partition("\n>>> ")
        params.append(pytest.param(text, message.rstrip("\n").replace("\n... ", " "), id=title))
    return params


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of site.toml, with programs and modules that fail the test when something imports them."""
    for name in ("apps/site.py", "apps/visit.py", "pkg/__init__.py", "runs/__init__.py", "runs/__main__.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("raise AssertionError('a description imports nothing')\n")
    (tmp_path / "bare/inner/deep").mkdir(parents=True)
    (tmp_path / "bare/inner/deep/mod.py").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def tapestry(text: str) -> Tapestry:
    return parse(text, "site.toml")


def mistake(text: str) -> TapestryError:
    with pytest.raises(TapestryError) as caught:
        tapestry(text)
    return caught.value


def host(keys: str, index: int = 0) -> HostDescription:
    return tapestry(f"[hosts.client]\n{keys}").hosts[index]


def string(keys: str, index: int = 0) -> StringDescription:
    return host(f"count = 3\nstrings = [{{ {keys} }}]", index).strings[0]


def net(keys: str, index: int = 0) -> list[str]:
    return [line.text for line in host(keys, index).net]


def address(text: str) -> int:
    value = 0
    for part in text.split("."):
        value = value * 256 + int(part)
    return value


PAIR = """
[hosts.a]
eth0 = "10.0.0.1/24"
[hosts.b]
eth0 = "10.0.0.2/24"
[[links]]
ends = ["a", "b"]
"""


# Mistakes


@pytest.mark.parametrize(("text", "message"), mistakes())
def test_a_mistake_names_line_table_key_and_what_was_expected(text: str, message: str) -> None:
    assert str(mistake(text)) == f"site.toml:{message}"


def test_the_parts_of_an_error_are_fields() -> None:
    error = mistake('[hosts.a]\neth0 = "10.9.9"')
    assert (error.file, error.line, error.table, error.key) == ("site.toml", 2, "[hosts.a]", "eth0")
    assert error.message == "10.9.9 is not an address"
    assert error.expected == 'an IPv4 address with a prefix length, such as "10.0.0.2/24"'


def test_an_error_survives_pickling() -> None:
    error = mistake('[hosts.a]\neth0 = "10.9.9"')
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.line, copy.expected) == (str(error), 2, error.expected)


def test_an_error_is_one_line_whatever_the_file_holds() -> None:
    assert str(mistake('"a\\nb\\u001b" = 1')) == (
        r'site.toml:1: "a\nb\x1b": unknown key; '
        "expected one of beads, events, hosts, kernels, links, modules, stacks, tapestry, weaves"
    )


def test_the_first_mistake_of_several_is_told() -> None:
    assert mistake("[hosts.a]\ncount = 0\nzzz = 1\nnet = 5\n[tapestry]\nseed = true").line == 2


def test_where_makes_errors_for_later_stages() -> None:
    where = tapestry(PAIR).hosts[1].where
    assert str(where.error("no room; expected less")) == "site.toml:4: [hosts.b]: no room; expected less"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing.toml", "nothing.toml: No such file or directory; expected a TOML file"),
        ("apps", "apps: Is a directory; expected a TOML file"),
        ("latin.toml", "latin.toml:2: not UTF-8; expected a TOML file in UTF-8"),
    ],
)
def test_a_file_that_cannot_be_read(folder: Path, name: str, message: str) -> None:
    (folder / "latin.toml").write_bytes(b"[tapestry]\nname = '\xe9'\n")
    with pytest.raises(TapestryError) as caught:
        read(name)
    assert str(caught.value) == message


def test_arrays_nested_too_deeply() -> None:
    assert mistake("x = " + "[" * 100_000).message == "nested too deeply"


# The example of the design


EXAMPLE = '''
[tapestry]
name = "site"
seed = 1
until = "60s"                       # default: until every string has ended

[hosts.router]
eth0 = "10.0.0.1/24"
eth1 = "10.1.0.1/16"
net = """
sysctl -w net.ipv4.ip_forward=1
iptables -A FORWARD -p tcp --dport 22 -j REJECT
"""

[hosts.server]
eth0 = "10.0.0.2/24"
net = "route add default gw 10.0.0.1"
strings = [{ run = "apps/site.py --port 80" }]       # a program: its own __main__, sys.argv, output

[hosts.client]
count = 1000                        # client-0 ... client-999; {i} below
eth0 = "10.1.{i+2}/16"              # the i+2nd address of 10.1.0.0/16
net = "route add default gw 10.1.0.1"
strings = [{ call = "apps.visit:main", args = ["http://server/"], start = "{i}ms" }]

[[links]]
ends = ["server", "router.eth0"]
rate = "1gbit"
delay = "5ms"
loss = "0.1%"
queue = { kind = "red", limit = "100 packets" }

[[links]]
ends = ["client", "router.eth1"]    # more than two devices: a switch
rate = "100mbit"
delay = "1ms"
'''


def test_the_example_has_a_thousand_clients_in_order() -> None:
    names = [host.name for host in tapestry(EXAMPLE).hosts]
    assert names == ["router", "server", *(f"client-{i}" for i in range(1000))]


@pytest.mark.parametrize(("index", "expected"), [(0, "10.1.0.2"), (253, "10.1.0.255"), (999, "10.1.3.233")])
def test_the_example_spreads_its_clients_over_the_network(index: int, expected: str) -> None:
    client = tapestry(EXAMPLE).hosts[2 + index]
    assert client.devices == (DeviceDescription("eth0", ((address(expected), 16),)),)


def test_the_example_starts_its_clients_a_millisecond_apart() -> None:
    strings = [host.strings[0] for host in tapestry(EXAMPLE).hosts[2:]]
    assert [string.start_ns for string in strings] == [i * 1_000_000 for i in range(1000)]


@pytest.mark.parametrize("first", ['"2001:db8::1/64"', '"10.0.0.1/24"', '["10.0.0.1/24", "fe80::5/64"]'])
def test_a_device_of_both_families_may_meet_one_of_one(first: str) -> None:
    text = f'[hosts.a]\neth0 = {first}\n[hosts.b]\neth0 = ["10.0.0.2/24", "2001:db8::2/64"]\n'
    assert len(tapestry(text + '[[links]]\nends = ["a", "b"]\n').links) == 1


def test_the_example_has_a_link_and_a_switch() -> None:
    link, switch = tapestry(EXAMPLE).links
    assert link.name == "server.eth0 - router.eth0"
    assert link.ends == (("server", "eth0"), ("router", "eth0"))
    assert (link.rate_bps, link.delay_ns, link.loss) == (10**9, 5_000_000, 0.001)
    assert (link.queue_kind, link.queue_limit_packets, link.queue_limit_bytes) == ("red", 100, None)
    assert switch.name == "switch-2"
    assert switch.ends == (*((f"client-{i}", "eth0") for i in range(1000)), ("router", "eth1"))


def test_read_is_parse_of_the_file(folder: Path) -> None:
    (folder / "site.toml").write_text(EXAMPLE)
    from_file, from_text = read("site.toml"), tapestry(EXAMPLE)
    # Weaves are compared by what they are, and there are two of each here.
    assert [attrs.asdict(weave) for weave in from_file.weaves] == [attrs.asdict(weave) for weave in from_text.weaves]
    assert attrs.evolve(from_file, weaves=()) == attrs.evolve(from_text, weaves=())


def test_read_takes_a_byte_order_mark(folder: Path) -> None:
    (folder / "site.toml").write_bytes(b"\xef\xbb\xbf[tapestry]\nseed = 7\n")
    assert read("site.toml").seed == 7


# [tapestry]


def test_the_defaults_of_a_tapestry(folder: Path) -> None:
    empty = tapestry("")
    assert (empty.name, empty.seed, empty.until_ns, empty.on_error, empty.network) == ("site", 1, None, "stop", "lunar")
    assert (empty.hosts, empty.links, empty.path, empty.folder) == ((), (), Path("site.toml"), folder)
    assert empty.epoch_ns == 946_684_800 * 10**9  # 2000-01-01T00:00:00Z


@pytest.mark.parametrize(
    ("epoch", "seconds"),
    [
        ("2001-09-09T01:46:40Z", 10**9),
        ('"2001-09-09T01:46:40Z"', 10**9),
        ("2001-09-09T03:46:40+02:00", 10**9),
        ("2001-09-09T01:46:40", 10**9),  # without a zone: UTC
        ("2001-09-09", 10**9 - 6400),  # 01:46:40 is 6,400 s after midnight
        ("1970-01-01T00:00:00Z", 0),
    ],
)
def test_epoch(epoch: str, seconds: int) -> None:
    assert tapestry(f"[tapestry]\nepoch = {epoch}").epoch_ns == seconds * 10**9


def test_epoch_keeps_microseconds_exactly() -> None:
    assert tapestry("[tapestry]\nepoch = 2001-09-09T01:46:40.000001Z").epoch_ns == 10**18 + 1000


# [hosts.NAME]


def test_a_host_alone_has_its_plain_name_and_index_0() -> None:
    alone = host("")
    assert (alone.name, alone.group, alone.index) == ("client", "client", 0)


def test_a_group_of_one_has_a_number() -> None:
    assert host("count = 1").name == "client-0"


def test_devices_are_in_the_order_of_their_numbers() -> None:
    devices = host('eth10 = "10.0.0.1/24"\neth9 = "10.0.1.1/24"').devices
    assert [device.name for device in devices] == ["eth9", "eth10"]


def test_a_device_has_addresses_of_both_families() -> None:
    (device,) = host('eth0 = ["10.0.0.1/24", "2001:db8::1/64", "auto"]').devices
    assert device.addresses == ((address("10.0.0.1"), 24), (0x2001_0DB8 << 96 | 1, 64))
    assert device.auto


def test_numbers_in_ipv6_addresses_are_hexadecimal_by_their_format() -> None:
    found = tapestry('[hosts.a]\ncount = 12\neth0 = "2001:db8::{i+1:x}/64"').hosts
    assert [known.devices[0].addresses[0][0] & 0xFFFF for known in found][-3:] == [10, 11, 12]


def test_ends_that_find_their_addresses_fit_any_ipv6_network() -> None:
    text = '[hosts.r]\neth0 = "2001:db8::1/64"\n[hosts.a]\neth0 = "auto"\n[[links]]\nends = ["r", "a"]\narp = true'
    found = tapestry(text)
    assert found.hosts[1].devices[0].addresses == ()
    assert (found.links[0].arp, found.arp) == (True, False)


def test_a_route_of_ip_to_the_device_frees_its_network() -> None:
    text = """
    [hosts.a]
    eth0 = "2001:db8::1/64"
    net = "ip -6 route add 2001:db8:1::/64 dev eth0"
    [hosts.b]
    eth0 = "2001:db8:1::2/64"
    net = "ip -6 route add 2001:db8::/64 dev eth0"
    [[links]]
    ends = ["a", "b"]
    """
    assert len(tapestry(text).links) == 1


UDP = '[hosts.a]\neth0 = "10.0.0.1/24"\n[[links]]\nends = ["a"]\nudp = { local = 8192, remote = '


def test_a_udp_link_has_one_end_here(folder: Path) -> None:
    (link,) = parse(UDP + '"127.0.0.1:8193" }', folder / "site.toml").links
    assert link.udp is not None
    assert (link.udp.local, link.udp.remote) == (("127.0.0.1", 8192), ("127.0.0.1", 8193))
    assert link.name == "a.eth0 - 127.0.0.1:8193"
    assert link.mtu == 1458  # 1500 less 20 of IPv4, 8 of UDP, 14 of Ethernet
    assert not link.is_switch


def test_a_udp_link_by_ipv6_with_a_key(folder: Path) -> None:
    text = '[hosts.a]\neth0 = "10.0.0.1/24"\n[[links]]\nends = ["a"]\n'
    text += 'udp = { local = "[2001:db8::1]:8192", remote = "[2001:db8::2]:8193", key = "a text of many letters" }'
    (link,) = parse(text, folder / "site.toml").links
    assert link.udp is not None
    assert link.udp.local == ("2001:db8::1", 8192)
    assert link.mtu == 1458 - 20 - 24  # a longer header of IP, a sequence number and a tag
    assert "many letters" not in repr(link)


def test_a_key_file_stands_beside_the_tapestry(folder: Path) -> None:
    (link,) = parse(UDP + '"127.0.0.1:8193", key_file = "k" }', folder / "site.toml").links
    assert link.udp is not None
    assert link.udp.key_file == folder.absolute() / "k"
    assert link.udp.where.key == "udp.key_file"


def test_a_udp_link_of_several_devices_is_a_switch(folder: Path) -> None:
    text = UDP.replace('["a"]', '["a", "b"]').replace("[[links]]", '[hosts.b]\neth0 = "10.0.0.2/24"\n[[links]]')
    (link,) = parse(text + '"127.0.0.1:8193" }', folder / "site.toml").links
    assert link.is_switch
    assert len(link.ends) == 2


def test_files_are_texts_with_templates() -> None:
    (_, known) = tapestry('[hosts.a]\ncount = 2\nfiles = { "/etc/motd" = "I am {host}\\n" }').hosts
    assert [(file.path, file.text) for file in known.files] == [("/etc/motd", "I am a-1\n")]


def test_a_device_can_have_several_addresses() -> None:
    (device,) = host('eth0 = ["10.0.0.1/24", "10.0.1.1/16"]').devices
    assert device.addresses == ((address("10.0.0.1"), 24), (address("10.0.1.1"), 16))


def test_net_drops_blank_lines_and_comments() -> None:
    assert net('net = """\n\n  route add x  \n# no\n   # no\nsysctl y\n"""') == ["route add x", "sysctl y"]


def test_net_lines_know_where_they_stand() -> None:
    assert [line.where.line for line in host('net = """\n\nroute add x\n\nsysctl y"""').net] == [4, 6]


def test_net_can_be_a_list() -> None:
    lines = host('net = [\n"route add x",\n\n"sysctl y"]').net
    assert [(line.text, line.where.line, line.where.key) for line in lines] == [
        ("route add x", 3, "net[0]"),
        ("sysctl y", 5, "net[1]"),
    ]


def test_names_are_further_names_of_a_host() -> None:
    assert host('count = 2\nnames = ["www{i}", "{host}.example"]', 1).names == ("www1", "client-1.example")


# {expressions}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{i}", "7"),
        ("{i + 2}", "9"),
        ("{2 * (i - 3)}", "8"),
        ("{i // 2}{i % 2}", "31"),
        ("{-i}", "-7"),
        ("{i:03}", "007"),
        ("{i*100:,}", "700"),
        ("{i:x}", "7"),
        ("{i:>3}", "  7"),
        ("{ i }", "7"),
        ("{host}", "client-7"),
        ("{{i}}", "{i}"),
        ("{{{i}}}", "{7}"),
        ("}}{{", "}{"),
        ("a{i}b{i}c", "a7b7c"),
    ],
)
def test_expression(text: str, expected: str) -> None:
    assert net(f'count = 8\nnet = "x{text}y"', 7) == [f"x{expected}y"]


def test_i_is_0_on_a_host_alone() -> None:
    assert net('net = "{i} {host}"') == ["0 client"]


# Strings


def test_the_defaults_of_a_string() -> None:
    plain = string('run = "apps/site.py"')
    assert (plain.start_ns, plain.stop_ns, plain.background, plain.on_error) == (0, None, False, "stop")
    assert (plain.args, plain.kwargs, plain.env, plain.cwd, plain.call) == ((), {}, {}, None, None)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("apps/site.py --port 80", ("apps/site.py", "--port", "80")),
        ("python -m runs --flag", ("python", "-m", "runs", "--flag")),
        ("python3 apps/site.py", ("python3", "apps/site.py")),
        ("apps/site.py 'a b' \\\"c d\\\" ''", ("apps/site.py", "a b", "c d", "")),
        ("apps/site.py --id {i + 1} '{i} x'", ("apps/site.py", "--id", "3", "2 x")),
        ("apps/site.py {{}}", ("apps/site.py", "{}")),
        ("python -m bare.inner.deep.mod", ("python", "-m", "bare.inner.deep.mod")),
        ("python -m json.tool", ("python", "-m", "json.tool")),
        ("runs", ("runs",)),  # a folder with a __main__.py runs, as for python itself
    ],
)
def test_run_is_split_into_words(line: str, words: tuple[str, ...]) -> None:
    assert string(f'run = "{line}"', 2).run == words


@pytest.mark.parametrize(
    ("words", "program"),
    [
        (("apps/site.py", "-v"), Program("apps/site.py", None, ("-v",))),
        (("python", "apps/site.py", "-v"), Program("apps/site.py", None, ("-v",))),
        (("python3.11", "-m", "runs", "-v"), Program(None, "runs", ("-v",))),
    ],
)
def test_the_program_of_a_run(words: tuple[str, ...], program: Program) -> None:
    assert program_of(words) == program


@pytest.mark.parametrize(
    ("keys", "name"),
    [
        ('run = "apps/site.py"', "site"),
        ('run = "python -m json.tool"', "tool"),
        ('call = "apps.visit:main"', "main"),
        ('call = "apps.visit:Visitor.run"', "run"),
        ('call = "apps.visit:main", name = "visit-{i}"', "visit-2"),
    ],
)
def test_the_name_of_a_string(keys: str, name: str) -> None:
    assert string(keys, 2).name == name


@pytest.mark.parametrize("module", ["apps.visit", "pkg", "bare.inner.deep.mod", "json", "sys"])
def test_call_finds_modules_and_imports_none(module: str) -> None:
    assert string(f'call = "{module}:main"').call == f"{module}:main"


def test_args_and_kwargs_keep_their_types() -> None:
    keys = 'call = "apps.visit:main", args = ["n{i}", 2, 1.5, true, ["{i}"]], kwargs = { a = "{i}", b = { c = [3] } }'
    assert string(keys, 1).args == ("n1", 2, 1.5, True, ["1"])
    assert string(keys, 1).kwargs == {"a": "1", "b": {"c": [3]}}


def test_hosts_do_not_share_what_a_program_could_change() -> None:
    text = """[hosts.client]
count = 2
strings = [{ call = "apps.visit:main", args = [[]], kwargs = { a = {} }, env = { A = "1" } }]"""
    first, second = (host.strings[0] for host in tapestry(text).hosts)
    first.args[0].append(1)
    first.kwargs["a"]["b"] = 1
    first.env["B"] = "2"
    assert (second.args, second.kwargs, second.env) == (([],), {"a": {}}, {"A": "1"})


def test_start_stop_background_and_env() -> None:
    keys = 'run = "apps/site.py", start = "{i*10}ms", stop = "1m", background = true, env = { ID = "{i}" }'
    some = string(keys, 2)
    assert (some.start_ns, some.stop_ns, some.background, some.env) == (20_000_000, 60 * 10**9, True, {"ID": "2"})


def test_cwd() -> None:
    assert string('run = "apps/site.py", cwd = "work/{i}"', 2).cwd == "work/2"


def test_stop_at_start_is_no_mistake() -> None:
    assert string('run = "apps/site.py", start = "1s", stop = "1s"').stop_ns == 10**9


@pytest.mark.parametrize(
    ("tapestry_line", "host_line", "string_line", "expected"),
    [
        ("", "", "", "stop"),
        ('on_error = "continue"', "", "", "continue"),
        ('on_error = "continue"', 'on_error = "restart"', "", "restart"),
        ('on_error = "continue"', 'on_error = "restart"', 'on_error = "stop"', "stop"),
    ],
)
def test_the_nearest_on_error_holds(tapestry_line: str, host_line: str, string_line: str, expected: str) -> None:
    text = f'[tapestry]\n{tapestry_line}\n[hosts.a]\n{host_line}\n[[hosts.a.strings]]\nrun = "runs"\n{string_line}'
    assert tapestry(text).hosts[0].strings[0].on_error == expected


# [[links]]


def test_the_defaults_of_a_link() -> None:
    (link,) = tapestry(PAIR).links
    assert (link.name, link.ends) == ("a.eth0 - b.eth0", (("a", "eth0"), ("b", "eth0")))
    assert (link.rate_bps, link.delay_ns, link.loss, link.mtu) == (None, 0, 0.0, 1500)
    assert (link.queue_kind, link.queue_limit_packets, link.queue_limit_bytes) == ("fifo", 1000, None)


@pytest.mark.parametrize(
    ("queue", "expected"),
    [
        ('"1 packet"', ("fifo", 1, None)),
        ('"64 kb"', ("fifo", None, 65536)),
        ('{ limit = "64 kb" }', ("fifo", None, 65536)),
        ('{ kind = "red" }', ("red", 1000, None)),
    ],
)
def test_queue(queue: str, expected: tuple[str, int | None, int | None]) -> None:
    (link,) = tapestry(f"{PAIR}queue = {queue}").links
    assert (link.queue_kind, link.queue_limit_packets, link.queue_limit_bytes) == expected


@pytest.mark.parametrize(
    ("queue", "expected"),
    [
        ('{ kind = "red" }', (111, 333, False, 0.02, 0.002, False)),
        ('{ kind = "red", limit = "90 kb", max = "45 kb" }', (15 * 1024, 45 * 1024, True, 0.02, 0.002, False)),
        ('{ kind = "red", limit = "20 packets", min = "10 packets" }', (10, 20, False, 0.02, 0.002, False)),
        (
            '{ kind = "red", min = "65 packets", max = "65 packets", probability = "100%", weight = 1, ecn = true }',
            (65, 65, False, 1.0, 1.0, True),
        ),
    ],
)
def test_queue_with_early_drops(queue: str, expected: tuple[int, int, bool, float, float, bool]) -> None:
    red = tapestry(f"{PAIR}queue = {queue}").links[0].red
    assert red is not None
    assert (red.least, red.most, red.in_bytes, red.probability, red.weight, red.ecn) == expected


@pytest.mark.parametrize("mtu", [68, 65535])
def test_the_least_and_the_largest_mtu(mtu: int) -> None:
    assert tapestry(f"{PAIR}mtu = {mtu}").links[0].mtu == mtu


@pytest.mark.parametrize(("loss", "expected"), [("0", 0.0), ("1", 1.0), ("0.25", 0.25), ('"100%"', 1.0)])
def test_loss(loss: str, expected: float) -> None:
    assert tapestry(f"{PAIR}loss = {loss}").links[0].loss == expected


def test_zero_delay_needs_no_unit() -> None:
    assert tapestry(f"{PAIR}delay = 0").links[0].delay_ns == 0


def lan(ends: list[str]) -> tuple[tuple[str, str], ...]:
    """The ends of one link in 10.0.0.0/24 between members of a group of 3 and a host with two devices."""
    text = """
[hosts.c]
count = 3
eth1 = "10.0.0.{i+1}/24"
[hosts.r]
eth0 = "10.0.0.10/24"
eth3 = "10.0.0.11/24"
"""
    return tapestry(f"{text}[[links]]\nends = {json.dumps(ends)}").links[0].ends


def test_a_group_stands_for_all_its_hosts() -> None:
    assert lan(["c"]) == (("c-0", "eth1"), ("c-1", "eth1"), ("c-2", "eth1"))


def test_a_member_of_a_group_stands_for_itself() -> None:
    assert lan(["c-2", "r.eth3"]) == (("c-2", "eth1"), ("r", "eth3"))


def test_a_group_can_name_its_device() -> None:
    assert lan(["r.eth0", "c.eth1"])[1:] == (("c-0", "eth1"), ("c-1", "eth1"), ("c-2", "eth1"))


def test_two_devices_of_one_host_can_share_a_link() -> None:
    assert lan(["r.eth0", "r.eth3"]) == (("r", "eth0"), ("r", "eth3"))


def test_a_device_that_no_link_names_is_no_mistake() -> None:
    assert tapestry('[hosts.a]\neth0 = "10.0.0.1/24"').links == ()


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("10.0.0.0/31", "10.0.0.1/31"),  # RFC 3021: no network or broadcast address
        ("10.0.0.1/24", "10.0.0.2/16"),  # each lies in the other's network
        ("10.0.0.1/24", "10.0.0.9/32"),  # a second address, as for a virtual one
    ],
)
def test_addresses_that_a_link_can_join(first: str, second: str) -> None:
    other = f'["10.0.0.2/24", "{second}"]' if second.endswith("/32") else f'"{second}"'
    text = f'[hosts.a]\neth0 = "{first}"\n[hosts.b]\neth0 = {other}\n[[links]]\nends = ["a", "b"]'
    assert len(tapestry(text).links) == 1


def test_one_address_on_two_links_is_no_mistake() -> None:
    text = """
[hosts.a]
count = 2
eth0 = "10.0.0.1/24"
[hosts.b]
count = 2
eth0 = "10.0.0.2/24"
[[links]]
ends = ["a-0", "b-0"]
[[links]]
ends = ["a-1", "b-1"]
"""
    assert len(tapestry(text).links) == 2


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("", (None, "run")),
        ('watchdog = "90s"', (90 * 1_000_000_000, "run")),
        ('watchdog = "off"', (0, "run")),
        ("watchdog = 0", (0, "run")),
        ('watchdog = "1s"\non_hang = "string"', (1_000_000_000, "string")),
    ],
)
def test_the_watchdog(lines: str, expected: tuple[int | None, str]) -> None:
    read_back = parse(f'[tapestry]\n{lines}\n[hosts.a]\neth0 = "10.0.0.1/24"\n', "site.toml")
    assert (read_back.watchdog_ns, read_back.on_hang) == expected
