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
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance"
# These end the session whose token the other requests come with, or replace its password.
ENDINGS = ["^DELETE /sessions$", "^POST /logout$", "^PUT /me/password$"]
ADMINISTRATION = "^/(admin|revocations)"


def token_of(services, username):
    return post(f"{services.auth}/login", {"username": username, "password": "space-corgi"})["access_token"]


@pytest.fixture
def conforms():
    def run(url, folder, *options, token=None):
        authorization = ["--header", f"Authorization: Bearer {token}"] if token else []
        ended = subprocess.run(
            [SCHEMATHESIS, "run", f"{url}/openapi.json", "--checks", CHECKS, "--phases", "examples,coverage,fuzzing",
             "--max-examples", "10", "--max-time", "15", "--generation-deterministic", "--suppress-health-check", "all",
             "--no-shrink", "--request-timeout", "20", "--warnings", "off", "--no-color", "--continue-on-failure", *authorization, *options],
            cwd=folder, capture_output=True, text=True, timeout=240, env={"NO_PROXY": "*", "HOME": str(folder)})
        assert ended.returncode == 0, (ended.stdout + ended.stderr)[-20_000:]
        assert re.search(r"\b[1-9]\d* passed", ended.stdout), ended.stdout
    return run


def test_auth_service_answers_anybody_as_described(stack, tmp_path, conforms):
    conforms(stack().auth, tmp_path)


def test_auth_service_answers_users_as_described(stack, tmp_path, conforms):
    services = stack()
    endings = [option for ending in ENDINGS for option in ("--exclude-name-regex", ending)]
    conforms(services.auth, tmp_path, *endings, token=token_of(services, "cosmo"))


def test_auth_service_answers_administrators_as_described(stack, tmp_path, conforms):
    bootstrap = tmp_path / "bootstrap.toml"
    bootstrap.write_text('[[users]]\nusername = "admin"\npassword = "space-corgi"\nscope = "admin"\n')
    services = stack(AUTH_BOOTSTRAP_FILE=str(bootstrap))
    conforms(services.auth, tmp_path, "--include-path-regex", ADMINISTRATION, token=token_of(services, "admin"))


def test_resource_service_answers_as_described(stack, tmp_path, conforms):
    services = stack()
    conforms(services.resource, tmp_path)
    conforms(services.resource, tmp_path, token=token_of(services, "cosmo"))


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
