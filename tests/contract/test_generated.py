"""What is generated is in step with what it is generated from."""

import re
from pathlib import Path

import pytest
import yaml

from cube_oauth.providers import ServerMetadata, needs_discovery, resolve_app
from cube_oauth.providers.reference import files as reference_pages
from cube_oauth.resources.__main__ import files
from cube_oauth.resources.oauthapp import OAuthApp
from cube_oauth.resources.usercredential import UserCredential

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("folder", ["crds", "charts/cube-oauth-operator/files/crds"])
def test_the_crds_are_those_of_the_models(folder):
    written = {path.name: path.read_text() for path in (ROOT / folder).glob("*.yaml")}
    assert written == files(), "run `make crds` and commit the result"


KNOWN_TO_1_30 = {"name", "served", "storage", "subresources", "additionalPrinterColumns", "schema"}


@pytest.mark.parametrize("name", files())
def test_the_crds_hold_nothing_that_the_oldest_cluster_would_drop(name):
    """What an API server drops comes back as a difference with every reconcile of a GitOps tool."""
    (version,) = yaml.safe_load(files()[name])["spec"]["versions"]
    assert set(version) <= KNOWN_TO_1_30


@pytest.mark.parametrize("name", reference_pages())
def test_the_reference_pages_are_those_of_the_code(name):
    written = (ROOT / "docs/reference" / name).read_text()
    assert written == reference_pages()[name], "run `make reference` and commit the result"


@pytest.mark.parametrize("text", re.findall(r"```yaml\n(.*?)```", reference_pages()["providers.md"], re.DOTALL))
def test_the_examples_of_the_reference_page_are_ready_to_use(text):
    app = OAuthApp.model_validate(yaml.safe_load(text))
    metadata = ServerMetadata(needs_discovery(app) or "", "https://idp.example.com/a", "https://idp.example.com/t")
    assert resolve_app(app, metadata if metadata.issuer else None).token_url
    assert app.spec.provider.name == app.metadata.name
    assert len(text.splitlines()) < 12


@pytest.mark.parametrize("name", files())
def test_every_field_has_a_description(name):
    def undescribed(schema, path):
        for field, part in schema.get("properties", {}).items():
            if field not in ("apiVersion", "kind", "metadata"):
                if "description" not in part:
                    yield f"{path}.{field}"
                yield from undescribed(part, f"{path}.{field}")
        if isinstance(schema.get("items"), dict):
            yield from undescribed(schema["items"], f"{path}[]")

    crd = yaml.safe_load(files()[name])
    assert list(undescribed(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"], "")) == []


@pytest.mark.parametrize("path", sorted((ROOT / "crds/examples").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_models_read_the_examples(path):
    resource = yaml.safe_load(path.read_text())
    model = {"OAuthApp": OAuthApp, "UserCredential": UserCredential}[resource["kind"]]
    assert model.model_validate(resource).metadata.name == resource["metadata"]["name"]
