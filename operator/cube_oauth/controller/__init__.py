"""The controller: reconciles OAuthApps and UserCredentials, exchanges grants, refreshes tokens. One process is active at a time."""

from cube_oauth.controller.process import run

__all__ = ["run"]
