"""The floor of a resolve: a server on a unix socket that answers each line with one as long as a resolve's answer."""

import asyncio
import json
import sys


async def main(path: str, size: int) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            answer = {"jsonrpc": "2.0", "id": json.loads(line)["id"], "result": "x" * size}
            writer.write(json.dumps(answer).encode() + b"\n")
        writer.close()

    server = await asyncio.start_unix_server(serve, path)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
