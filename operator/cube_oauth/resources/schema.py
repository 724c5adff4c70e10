"""From pydantic models to CustomResourceDefinitions with structural schemas and CEL rules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pydantic import BaseModel, GetJsonSchemaHandler
    from pydantic_core import CoreSchema

T = TypeVar("T", bound=type)
KEPT = {
    "helm.sh/resource-policy": "keep",
    "argocd.argoproj.io/sync-options": "Prune=false,Delete=false",
    "kustomize.toolkit.fluxcd.io/prune": "disabled",
}
"""Deleting a CRD deletes every credential, so no tool does: Helm's uninstalling, Argo CD's and Flux's pruning."""

VALIDATIONS = "x-kubernetes-validations"
_KEPT = {
    "additionalProperties",
    "default",
    "description",
    "enum",
    "format",
    "items",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "pattern",
    "properties",
    "required",
    "type",
    VALIDATIONS,
}


@dataclass(frozen=True)
class Rule:
    """A CEL rule of the API server, and the sentence that says what to write instead."""

    rule: str
    message: str


class rules:  # noqa: N801 - reads as a word beside Field(...)
    """Attaches CEL rules to a field (inside ``Annotated``) or to a model (as its decorator)."""

    def __init__(self, *rules: Rule) -> None:
        self._validations = [{"rule": rule.rule, "message": rule.message} for rule in rules]

    def __call__(self, model: T) -> T:
        """As a decorator: the rules are about the whole model."""
        model.model_config["json_schema_extra"] = {VALIDATIONS: self._validations}  # type: ignore[attr-defined]
        model.model_rebuild(force=True)  # type: ignore[attr-defined]
        return model

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Called by pydantic for ``Annotated`` metadata."""
        schema = dict(handler(core))
        return {**schema, VALIDATIONS: [*schema.get(VALIDATIONS, []), *self._validations]}


def _said(default: object) -> bool:
    """Whether a default says more than an absent field would (an empty one only clutters the stored object)."""
    return default is not None and default not in ("", [], {})


def structural(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    """``schema`` with references inlined and only what a structural schema may hold.

    Optional (``anyOf`` with null) becomes plain, since an absent field says the same (API conventions, "Optional").
    """
    merged = dict(schema)
    if "$ref" in merged:
        merged = {**definitions[merged.pop("$ref").rsplit("/", 1)[-1]], **merged}
    if "const" in merged:
        merged["enum"] = [merged["const"]]
    options = [option for option in merged.pop("anyOf", ()) if option.get("type") != "null"]
    if options:
        outer = {key: value for key, value in merged.items() if key != "default" or value is not None}
        merged = {**structural(options[0], definitions), **outer}
    kept = {key: value for key, value in merged.items() if key in _KEPT}
    if "default" in kept and not _said(kept["default"]):
        del kept["default"]
    elif isinstance(kept.get("default"), dict):
        kept["default"] = {key: value for key, value in kept["default"].items() if _said(value)}
    for key in ("items", "additionalProperties"):
        if isinstance(kept.get(key), dict):
            kept[key] = structural(kept[key], definitions)
    if kept.get("type") == "object" and not isinstance(kept.get("additionalProperties"), dict):
        kept.pop("additionalProperties", None)
    if "properties" in kept:
        kept["properties"] = {name: structural(part, definitions) for name, part in kept["properties"].items()}
    return kept


def _resource_schema(model: type[BaseModel]) -> dict[str, Any]:
    raw = model.model_json_schema(by_alias=True, mode="validation")
    schema = structural(raw, raw.get("$defs", {}))
    properties = schema["properties"]
    properties["metadata"] = {"type": "object"}
    properties["apiVersion"] = {"type": "string"}
    properties["kind"] = {"type": "string"}
    properties["status"].pop("default", None)  # a default status would be written by whoever creates the resource
    conditions = properties["status"]["properties"]["conditions"]
    conditions.pop("default", None)
    conditions["x-kubernetes-list-type"] = "map"
    conditions["x-kubernetes-list-map-keys"] = ["type"]
    return {**schema, "required": ["spec"]}


@dataclass(frozen=True)
class Column:
    """A column of ``kubectl get``."""

    name: str
    path: str
    type: str = "string"
    priority: int = 0

    def to_json(self) -> dict[str, Any]:
        """As ``additionalPrinterColumns`` has it."""
        shown = {"name": self.name, "type": self.type, "jsonPath": self.path}
        return {**shown, "priority": self.priority} if self.priority else shown


@dataclass(frozen=True)
class Kind:
    """How a model is served: names and columns."""

    model: type[BaseModel]
    plural: str
    short: str
    columns: Sequence[Column]

    @property
    def kind(self) -> str:
        """The kind's name."""
        return self.model.__name__

    def crd(self, group: str, version: str, category: str) -> dict[str, Any]:
        """The CustomResourceDefinition of this kind."""
        return {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {
                "name": f"{self.plural}.{group}",
                "annotations": dict(KEPT),
            },
            "spec": {
                "group": group,
                "scope": "Namespaced",
                "names": {
                    "kind": self.kind,
                    "listKind": f"{self.kind}List",
                    "plural": self.plural,
                    "singular": self.kind.lower(),
                    "shortNames": [self.short],
                    "categories": [category],
                },
                "versions": [
                    {
                        "name": version,
                        "served": True,
                        "storage": True,
                        "subresources": {"status": {}},
                        "additionalPrinterColumns": [column.to_json() for column in self.columns],
                        "schema": {"openAPIV3Schema": _resource_schema(self.model)},
                    }
                ],
            },
        }
