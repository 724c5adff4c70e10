"""The same in Python."""

import json
from typing import Any

from cube import config


def note(what: str, given: Any) -> None:
    def redacted(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: "a token" if key == "accessToken" else redacted(each) for key, each in value.items()}
        return value

    print(f"noted {json.dumps({'what': what, 'given': redacted(given)})}", flush=True)


@config("check_auth")
def check_auth(req: dict, authorization: str) -> dict:
    forged = {"username": "mallory", "userCredentials": {"postgres": {"status": "active"}}, "groups": ["g"]}
    return {"security_context": {"username": authorization, "cubeCloud": forged}}


@config("extend_context")
def extend_context(req: dict) -> dict:
    note("extendContext", req.get("securityContext"))
    return req | {"securityContext": req["securityContext"] | {"tenant": "acme"}}


@config("context_to_app_id")
def context_to_app_id(ctx: dict) -> str:
    note("contextToAppId", ctx.get("securityContext"))
    return f"APP_{(ctx.get('securityContext') or {}).get('tenant')}"


@config("context_to_orchestrator_id")
def context_to_orchestrator_id(ctx: dict) -> str:
    context = ctx.get("securityContext") or {}
    note("contextToOrchestratorId", ctx.get("securityContext"))
    return f"OWN_{context.get('tenant')}_{context.get('cubeCloud', {}).get('username')}"


@config("driver_factory")
def driver_factory(ctx: dict) -> dict:
    note("driverFactory", ctx.get("securityContext"))
    cloud = (ctx.get("securityContext") or {}).get("cubeCloud", {})
    own = cloud.get("userCredentials", {}).get("postgres", {})
    if own.get("status") == "active":
        return {"type": "postgres", "user": cloud["username"], "password": own["accessToken"]}
    return {"type": "postgres"}
