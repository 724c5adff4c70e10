"""Provider presets as data, and the OAuth client: the only user of authlib, and the only code that talks to providers.

``resolve_app`` (or ``endpoints_of``) says where and how, as ``Endpoints``; ``ProviderClient`` asks; ``ProviderError`` says whose
fault it is. Nothing here stores or logs anything.
"""

from cube_oauth.providers.addresses import Network
from cube_oauth.providers.answers import TokenAnswer, restored, stored
from cube_oauth.providers.authentication import ClientCredentials
from cube_oauth.providers.authorization import CallbackError, authorization_url, log_out_url, new_verifier, read_callback
from cube_oauth.providers.client import ProviderClient
from cube_oauth.providers.discovery import Discovery
from cube_oauth.providers.endpoints import (
    Endpoints,
    ServerMetadata,
    account_endpoints,
    account_env,
    data_source_of,
    endpoints_of,
    needs_discovery,
    resolve_app,
)
from cube_oauth.providers.errors import Kind, ProviderError
from cube_oauth.providers.identity import IdentityError, id_token_claims, verify_id_token
from cube_oauth.providers.presets import PRESETS
from cube_oauth.providers.subject import said_of_person
from cube_oauth.providers.transport import Transport

__all__ = [
    "PRESETS",
    "CallbackError",
    "ClientCredentials",
    "Discovery",
    "Endpoints",
    "IdentityError",
    "Kind",
    "Network",
    "ProviderClient",
    "ProviderError",
    "ServerMetadata",
    "TokenAnswer",
    "Transport",
    "account_endpoints",
    "account_env",
    "authorization_url",
    "data_source_of",
    "endpoints_of",
    "id_token_claims",
    "log_out_url",
    "needs_discovery",
    "new_verifier",
    "read_callback",
    "resolve_app",
    "restored",
    "said_of_person",
    "stored",
    "verify_id_token",
]
