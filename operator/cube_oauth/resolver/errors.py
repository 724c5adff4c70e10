"""Why a request has no answer; each becomes a JSON-RPC error. No message ever holds a token."""

from __future__ import annotations


class RpcError(Exception):
    """A JSON-RPC error (section 5.1 of its specification) with a stable reason."""

    code = -32603
    reason = "InternalError"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class ParseError(RpcError):
    """The line is no JSON."""

    code, reason = -32700, "ParseError"


class InvalidRequestError(RpcError):
    """The line is no JSON-RPC request, or too long."""

    code, reason = -32600, "InvalidRequest"


class MethodNotFoundError(RpcError):
    """There is no such method."""

    code, reason = -32601, "MethodNotFound"


class BadParametersError(RpcError):
    """The parameters are not as docs/reference/protocols.md has them."""

    code, reason = -32602, "BadRequest"


class BrokerUnreachableError(RpcError):
    """Nothing is known and the broker cannot be asked."""

    code, reason = -32000, "BrokerUnreachable"


class ForbiddenError(RpcError):
    """The broker refused this pod or this caller."""

    code, reason = -32001, "Forbidden"
