"""An ordinary telnetlib3 client: it says what terminal it is, reads pages, and checks every line.

    python telnet.py HOST 1 2 3
"""

import argparse
import asyncio
import hashlib

import telnetlib3

TERMINAL = {"term": "vt220", "cols": 132, "rows": 43}


async def read_to_prompt(reader: telnetlib3.TelnetReaderUnicode) -> list[str]:
    """The lines up to the next prompt."""
    text = ""
    while not text.endswith("$ "):
        more = await reader.read(65536)
        if not more:
            raise ConnectionError(f"the connection ended after {text[-60:]!r}")
        text += more
    return text.removesuffix("$ ").splitlines()


async def visit(host: str, port: int, pages: list[int]) -> None:
    reader, writer = await telnetlib3.open_connection(host, port, **TERMINAL)
    greeting = (await read_to_prompt(reader))[-1]
    if greeting != "hello, vt220 of 132 x 43":
        raise ValueError(f"wrong greeting: {greeting}")
    lines = 0
    for number in pages:
        writer.write(f"page {number}\r\n")
        # Its first line is the echo of the command.
        got = [line for line in await read_to_prompt(reader) if not line.startswith("page")]
        for at, line in enumerate(got):
            if line != hashlib.sha256(f"{number}:{at}".encode()).hexdigest():
                raise ValueError(f"page {number}, line {at} is {line!r}")
        lines += len(got)
    writer.write("quit\r\n")
    if not (await reader.read()).strip().endswith("bye"):
        raise ValueError("the shell did not say bye")
    print(f"{greeting}; {len(pages)} pages, {lines} lines as they should be")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("host")
    parser.add_argument("pages", nargs="+", type=int)
    parser.add_argument("--port", type=int, default=23)
    options = parser.parse_args()
    asyncio.run(visit(options.host, options.port, options.pages))
