"""A token endpoint that only issues tokens, as fast as aiohttp can: the provider is not what is measured."""

import ssl
import sys

from aiohttp import web


async def token(request: web.Request) -> web.Response:
    form = await request.post()
    return web.json_response(
        {"access_token": "a" * 900, "refresh_token": f"{form['refresh_token']}-", "token_type": "Bearer", "expires_in": 43200}
    )


def main(port: int, cert: str, key: str) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)
    app = web.Application()
    app.router.add_post("/token", token)
    web.run_app(app, host="127.0.0.1", port=port, ssl_context=context, print=None, access_log=None)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3])
