"""A customer of the box office under asyncio: some seats at once, each over a connection of its own.

    python buy_many.py office 8000 --seats 5
"""

import argparse
import asyncio
import socket


async def buy(host: str, port: int, name: str) -> str:
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(f"buy {name}\n".encode())
    answer = (await asyncio.wait_for(reader.readline(), 60)).decode().strip()
    writer.close()
    await writer.wait_closed()
    return answer


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--seats", type=int, default=5)
    options = parser.parse_args()
    name = socket.gethostname()
    answers = await asyncio.gather(*(buy(options.host, options.port, name) for _ in range(options.seats)))
    seats = [int(answer.removeprefix("seat ")) for answer in answers if answer != "sold out"]
    print(f"{name} has {len(seats)} seats: {' '.join(map(str, sorted(seats)))}")


if __name__ == "__main__":
    asyncio.run(main())
