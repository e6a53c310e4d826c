"""telnetlib3: a server with a shell of its own, and clients that negotiate their terminal and talk to it.

    use_telnetlib3.py server
    use_telnetlib3.py client SERVER
"""

import asyncio
import hashlib
import random
import sys

import telnetlib3


async def shell(reader, writer):
    term, cols = writer.get_extra_info("TERM"), writer.get_extra_info("cols")
    writer.write(f"{term} {cols}\r\n$ ")
    while line := await reader.readline():
        command, _, rest = line.strip().partition(" ")
        if command == "quit":
            break
        if command == "reverse":
            writer.write(rest[::-1] + "\r\n$ ")
        elif command == "fill":
            text = "".join(random.Random(int(rest)).choices("abcdefghijklmnop \N{EURO SIGN}", k=120_000))
            for start in range(0, len(text), 1000):
                writer.write(text[start : start + 1000])
                await writer.drain()
            writer.write("\r\n$ ")
    writer.write("bye\r\n")
    await writer.drain()
    writer.close()


async def serve():
    server = await telnetlib3.create_server(host="0.0.0.0", port=23, shell=shell)
    await server.wait_closed()


async def until_prompt(reader):
    got = ""
    while not got.endswith("$ "):
        # Less than what is there would not do: telnetlib3 5.0 then decodes it twice, and breaks a character of several
        # bytes that a segment has cut (TelnetReaderUnicode.read).
        more = await reader.read(1_000_000)
        assert more, f"the connection ended after {got[-100:]!r}"
        got += more
    return got.removesuffix("\r\n$ ")


async def talk(server, number):
    reader, writer = await telnetlib3.open_connection(server, 23, term=f"vt{number}", cols=80 + number, rows=24)
    greeting = await until_prompt(reader)
    assert greeting.splitlines()[-1] == f"vt{number} {80 + number}", greeting
    for word in ("stressed", "Grüße"):
        writer.write(f"reverse {word}\r\n")
        answer = await until_prompt(reader)
        assert answer.splitlines()[-1] == word[::-1], answer
    writer.write(f"fill {number}\r\n")
    text = (await until_prompt(reader)).splitlines()[-1]
    expected = "".join(random.Random(number).choices("abcdefghijklmnop \N{EURO SIGN}", k=120_000))
    assert hashlib.sha256(text.encode()).digest() == hashlib.sha256(expected.encode()).digest()
    writer.write("quit\r\n")
    rest = await reader.read()
    assert rest.strip().endswith("bye"), rest
    return len(text)


async def ask(server):
    sizes = await asyncio.gather(*(talk(server, number) for number in (100, 102, 220)))
    print(f"{len(sizes)} terminals, {sum(sizes)} characters")


if __name__ == "__main__":
    asyncio.run(serve() if sys.argv[1] == "server" else ask(sys.argv[2]))
