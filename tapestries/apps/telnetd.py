"""An ordinary telnetlib3 server: a shell that greets terminals by their type, and prints the pages of a book.

    python telnetd.py --port 23
"""

import argparse
import asyncio
import hashlib

import telnetlib3

LINES_A_PAGE = 100


def page(number: int) -> list[str]:
    """The lines of a page: any will do, as long as they are the same each time."""
    return [hashlib.sha256(f"{number}:{line}".encode()).hexdigest() for line in range(LINES_A_PAGE)]


async def shell(reader: telnetlib3.TelnetReaderUnicode, writer: telnetlib3.TelnetWriterUnicode) -> None:
    columns, rows, term = (writer.get_extra_info(key) for key in ("cols", "rows", "TERM"))
    writer.write(f"hello, {term} of {columns} x {rows}\r\n$ ")
    while line := await reader.readline():
        command, _, argument = line.strip().partition(" ")
        if command == "quit":
            break
        if command == "page" and argument.isdigit():
            for text in page(int(argument)):
                writer.write(text + "\r\n")
                await writer.drain()
        else:
            writer.write(f"{command}: there is page N and quit\r\n")
        writer.write("$ ")
    writer.write("bye\r\n")
    await writer.drain()
    writer.close()


async def serve(port: int) -> None:
    server = await telnetlib3.create_server(host="0.0.0.0", port=port, shell=shell)
    print(f"telnet on port {port}")
    await server.wait_closed()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=23)
    asyncio.run(serve(parser.parse_args().port))
