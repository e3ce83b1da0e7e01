"""A local stack, a browser, and other origins, for tests that use the demo page as its users do."""

import contextlib
import http.server
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request

import pytest
from playwright.sync_api import expect, sync_playwright

ROOT = pathlib.Path(__file__).parents[3]
BINARY = pathlib.Path(os.environ.get("LOCAL_STACK", ROOT / "target/debug/local-stack"))
PATIENCE = 20
# Nothing but the pages under test: no updates, no synchronisation, no variations.
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-default-apps", "--no-first-run", "--no-proxy-server",
]

expect.set_options(timeout=PATIENCE * 1000)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Stack:
    """Both services as a user starts them, with an empty folder."""

    def __init__(self, folder, settings):
        self.folder, self.settings = folder, settings
        self.auth_port, self.resource_port = free_port(), free_port()
        self.auth = f"http://127.0.0.1:{self.auth_port}"
        self.resource = f"http://127.0.0.1:{self.resource_port}"
        self.page = f"{self.resource}/"
        self.process = None
        self.log = folder / "log"

    def start(self):
        environment = {
            "PATH": os.environ["PATH"], "RUST_LOG": "info", "LOG_FORMAT": "json",
            "AUTH_LISTEN": f"127.0.0.1:{self.auth_port}", "RESOURCE_LISTEN": f"127.0.0.1:{self.resource_port}",
            **self.settings,
        }
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [BINARY, "--data-dir", self.folder / "data"], cwd=self.folder, env=environment, stdout=log, stderr=log)
        started = time.monotonic()
        while not (answers(f"{self.auth}/health/ready") and answers(f"{self.resource}/health/ready")):
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() - started < PATIENCE, self.log.read_text()
            time.sleep(0.02)

    def stop(self):
        if self.process:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(PATIENCE)
            self.process = None


def answers(url):
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=2) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


def read(url):
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=20) as answer:
        return answer.read().decode()


def post(url, body=None, token=None):
    headers = {"Content-Type": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    request = urllib.request.Request(url, json.dumps(body or {}).encode(), headers, method="POST")
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=20) as answer:
        return json.loads(answer.read())


class Gate:
    """A way to auth-service that can be closed: to whoever goes through it, the service is away."""

    def __init__(self, target):
        self.target, self.open = target, True
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.connections = set()
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        with contextlib.suppress(OSError):
            while True:
                near, _ = self.listener.accept()
                if not self.open:
                    near.close()
                    continue
                far = socket.create_connection(("127.0.0.1", self.target))
                self.connections |= {near, far}
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=self.copy, args=(source, sink), daemon=True).start()

    def copy(self, source, sink):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self):
        self.open = False
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self.connections.clear()


@pytest.fixture
def stack(tmp_path):
    """Starts stacks with other settings than the usual ones."""
    stacks = []

    def start(**settings):
        one = Stack(tmp_path / f"stack{len(stacks)}", settings)
        one.folder.mkdir()
        stacks.append(one)
        one.start()
        return one

    yield start
    for one in stacks:
        one.stop()


@pytest.fixture
def origin():
    """Serves pages on a further origin: the text for each path, or none."""
    servers = []

    def serve(text_of):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                text = text_of(self.path)
                self.send_response(200 if text is not None else 404)
                kind = "text/html" if self.path == "/" else "text/css" if self.path.endswith(".css") else (
                    "image/svg+xml" if self.path.endswith(".svg") else "text/javascript")
                self.send_header("Content-Type", f"{kind}; charset=utf-8")
                self.end_headers()
                self.wfile.write((text or "").encode())

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server.server_address[1]

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(params=["two origins", "three origins"])
def site(request, stack, origin):
    """Starts stacks whose page is on resource-service's origin, and once more such whose page is on an origin of its own."""

    def start(**settings):
        if request.param == "two origins":
            return stack(**settings)

        def text_of(path):
            if path != "/" and not path.startswith("/page/"):
                return None
            # The demo page asks its own origin for the data; here that origin has none.
            return read(services.resource + path).replace("location.origin", f"'{services.resource}'")

        page = f"http://127.0.0.1:{origin(text_of)}"
        services = stack(CORS_ALLOWED_ORIGINS=page, **settings)
        services.page = f"{page}/"
        return services

    return start


@pytest.fixture(scope="session")
def chromium():
    program = shutil.which("chromium")
    if not program:
        pytest.skip("there is no chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield browser
        browser.close()


class Browser:
    """One user's browser: what its tabs share, and what they asked for and complained of."""

    def __init__(self, context):
        self.context = context
        self.requests, self.complaints = [], []
        context.on("request", lambda request: self.requests.append(request))
        context.on("console", lambda message: message.type in ("error", "warning") and self.complaints.append(message.text))
        context.on("weberror", lambda error: self.complaints.append(str(error.error)))

    def open(self, url):
        page = self.context.new_page()
        page.goto(url)
        return page

    def sent(self, method, path):
        return [request for request in self.requests if request.method == method and request.url.endswith(path)]

    def origins(self):
        return {request.url.split("/", 3)[2] for request in self.requests if not request.url.startswith("data:")}


@pytest.fixture
def browser(chromium):
    """Browsers of different users; at the end, none may have complained of what the test did not expect."""
    browsers = []

    def start(**options):
        one = Browser(chromium.new_context(**options))
        browsers.append(one)
        return one

    yield start
    for one in browsers:
        one.context.close()
    assert [one.complaints for one in browsers] == [[] for _ in browsers]


def sign_in(page, username="cosmo", password="space-corgi"):
    page.get_by_label("User name").fill(username)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()


def is_signed_in(page, username="cosmo"):
    expect(page.locator("#username")).to_have_text(username)
    expect(page.locator("#signed-in")).to_be_visible()
