"""An ordinary aiohttp client: fetches pages of a site and checks each one's SHA-256.

    python visit.py server /small /large https:/medium

A page with "https:" before it is fetched over TLS. Exits with an error when a page is not what the index says.
"""

import argparse
import asyncio
import hashlib
import pathlib
import ssl

import aiohttp

AUTHORITY = pathlib.Path(__file__).parent / "tls" / "authority.pem"


async def visit(site: str, pages: list[str]) -> None:
    context = ssl.create_default_context(cafile=AUTHORITY)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
        async with session.get(f"http://{site}/index.json") as response:
            index = {entry["path"]: entry for entry in await response.json()}
        for page in pages:
            scheme, _, path = page.rpartition(":")
            async with session.get(f"{scheme or 'http'}://{site}{path}") as response:
                response.raise_for_status()
                body = await response.read()
            digest = hashlib.sha256(body).hexdigest()
            if digest != index[path]["sha256"] or len(body) != index[path]["size"]:
                raise SystemExit(f"{page}: {len(body)} bytes with SHA-256 {digest}, expected {index[path]}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("site")
    parser.add_argument("pages", nargs="+")
    options = parser.parse_args()
    asyncio.run(visit(options.site, options.pages))


if __name__ == "__main__":
    main()
