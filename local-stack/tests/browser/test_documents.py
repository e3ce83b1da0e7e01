"""The OpenAPI documents: whatever is sent to the services, they answer as described; and the page to try them."""

import json
import pathlib
import re
import subprocess
import sys

import pytest
from conftest import post
from playwright.sync_api import expect

SCHEMATHESIS = pathlib.Path(sys.executable).with_name("schemathesis")
SETTINGS = pathlib.Path(__file__).with_name("schemathesis.toml")
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance"
# These end the session whose token the other requests come with, or replace its password.
ENDINGS = "^(DELETE /sessions|DELETE /sessions/{id}|POST /logout|PUT /me/password)$"
ADMINISTRATION = "^/(admin|revocations)"
SECRET = "a-secret-of-more-than-32-characters"
BOOTSTRAP = f"""
[[users]]
username = "admin"
password = "space-corgi"
scope = "admin"

[[clients]]
id = "sputnik"
secret = "{SECRET}"
scope = "profile:read"
"""


def token_of(services, username):
    return post(f"{services.auth}/login", {"username": username, "password": "space-corgi"})["access_token"]


def succeeded(services):
    """What was answered to somebody who showed who they are, and not just refused."""
    lines = [json.loads(line) for line in services.log.read_text().splitlines() if line.startswith("{")]
    # resource-service calls by itself.
    return {f"{line['method']} {line['route']}" for line in lines
            if line.get("message") == "request" and line["status"] < 300 and line.get("user", "resource-service") != "resource-service"}


@pytest.fixture
def bootstrapped(stack, tmp_path):
    file = tmp_path / "bootstrap.toml"
    file.write_text(BOOTSTRAP)
    return stack(AUTH_BOOTSTRAP_FILE=str(file))


@pytest.fixture
def conforms(tmp_path):
    def run(url, *options, token=None):
        authorization = ["--header", f"Authorization: Bearer {token}"] if token else []
        ended = subprocess.run(
            [SCHEMATHESIS, "--config-file", SETTINGS, "run", f"{url}/openapi.json", "--checks", CHECKS, "--phases", "examples,coverage,fuzzing",
             "--max-examples", "10", "--generation-deterministic", "--suppress-health-check", "all",
             "--no-shrink", "--request-timeout", "20", "--no-color", "--continue-on-failure", *authorization, *options],
            cwd=tmp_path, capture_output=True, text=True, timeout=240, env={"NO_PROXY": "*", "HOME": str(tmp_path)})
        assert ended.returncode == 0, (ended.stdout + ended.stderr)[-20_000:]
        assert re.search(r"\b[1-9]\d* passed", ended.stdout), ended.stdout
    return run


def test_auth_service_answers_anybody_as_described(stack, conforms):
    conforms(stack().auth)


def test_auth_service_answers_users_as_described(stack, conforms):
    services = stack()
    conforms(services.auth, "--exclude-name-regex", ENDINGS, token=token_of(services, "cosmo"))
    assert succeeded(services) >= {"GET /me", "GET /sessions"}


def test_auth_service_answers_administrators_as_described(bootstrapped, conforms):
    conforms(bootstrapped.auth, "--include-path-regex", ADMINISTRATION, token=token_of(bootstrapped, "admin"))
    assert succeeded(bootstrapped) >= {"GET /admin/users", "GET /admin/clients", "GET /admin/audit-events"}


def test_auth_service_answers_clients_as_described(bootstrapped, conforms):
    conforms(bootstrapped.auth, "--include-path-regex", "^/oauth/", "--auth", f"sputnik:{SECRET}")
    assert succeeded(bootstrapped) >= {"POST /oauth/token", "POST /oauth/introspect", "POST /oauth/revoke"}


def test_resource_service_answers_as_described(stack, conforms):
    services = stack()
    conforms(services.resource)
    conforms(services.resource, token=token_of(services, "cosmo"))
    assert succeeded(services) >= {"GET /profile", "PUT /profile", "GET /dashboard"}


@pytest.mark.parametrize("service", ["auth", "resource"])
def test_the_page_beside_a_document_tries_its_operations(stack, browser, service):
    services, user = stack(), browser()
    base = getattr(services, service)
    page = user.open(f"{base}/docs")
    expect(page.get_by_role("heading", level=1)).to_have_text(f"{service}-service")
    if service == "auth":
        login = page.locator("[id='post /login']")
        login.locator("summary").click()
        login.get_by_role("button", name="Send").click()
        expect(login.get_by_label("Answer")).to_contain_text("access_token")
    else:
        page.get_by_label("Access or refresh token").fill(token_of(services, "cosmo"))
    path = "/me" if service == "auth" else "/profile"
    show = page.locator(f"[id='get {path}']")
    show.locator("summary").click()
    show.get_by_role("button", name="Send").click()
    expect(show.get_by_label("Answer")).to_contain_text("cosmo")
    assert user.origins() == {base.removeprefix("http://")}
