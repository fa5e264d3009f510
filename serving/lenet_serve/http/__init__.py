"""The protocol's REST side.

`application` says what is answered to a request, whoever carries it: `asgi` for any ASGI server and
for mounting in other people's applications, `connection` for our own server, which spares what ASGI
costs. Both send the same bytes.
"""

from lenet_serve.http.asgi import asgi

__all__ = ["asgi"]
