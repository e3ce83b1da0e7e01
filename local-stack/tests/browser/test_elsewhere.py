"""A page of a foreign origin, in the browser of a user who is signed in: it reads nothing and causes nothing."""

import json

import pytest
from conftest import is_signed_in, sign_in
from playwright.sync_api import expect

# What such a page can try, on its own host's port (the same site: cookies are attached) and on another site.
ATTEMPTS = """
async ({auth, resource}) => {
  const tries = {
    refresh: () => fetch(`${auth}/refresh`, {method: 'POST', credentials: 'include'}),
    'refresh, not asking to read': () => fetch(`${auth}/refresh`, {method: 'POST', credentials: 'include', mode: 'no-cors'}),
    logout: () => fetch(`${auth}/logout`, {method: 'POST', credentials: 'include'}),
    'logout, not asking to read': () => fetch(`${auth}/logout`, {method: 'POST', credentials: 'include', mode: 'no-cors', keepalive: true}),
    beacon: async () => { navigator.sendBeacon(`${auth}/logout`, 'x'); return {type: 'opaque'}; },
    'log in': () => fetch(`${auth}/login`, {method: 'POST', credentials: 'include', headers: {'Content-Type': 'application/json'},
      body: JSON.stringify({username: 'cosmo', password: 'space-corgi', delivery: 'cookie'})}),
    'log in, in disguise': () => fetch(`${auth}/login`, {method: 'POST', credentials: 'include', mode: 'no-cors', headers: {'Content-Type': 'text/plain'},
      body: JSON.stringify({username: 'cosmo', password: 'space-corgi', delivery: 'cookie'})}),
    sessions: () => fetch(`${auth}/sessions`, {credentials: 'include'}),
    'end all': () => fetch(`${auth}/sessions`, {method: 'DELETE', credentials: 'include'}),
    profile: () => fetch(`${resource}/profile`, {credentials: 'include'}),
    'profile, with a token': () => fetch(`${resource}/profile`, {headers: {Authorization: 'Bearer x'}}),
    health: () => fetch(`${resource}/health/live`),
  };
  const results = {};
  for (const [name, attempt] of Object.entries(tries)) {
    try {
      const answer = await attempt();
      results[name] = answer.type === 'opaque' ? 'unread' : `read: ${answer.status} ${await answer.text()}`;
    } catch (error) {
      results[name] = 'unread';
    }
  }
  return results;
}
"""


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"], ids=["of the same site", "of another site"])
def test_a_foreign_page_reads_nothing_and_neither_refreshes_nor_signs_out(stack, browser, origin, host):
    services, user = stack(), browser()
    page = user.open(services.resource)
    sign_in(page)
    is_signed_in(page)
    cookies = user.context.cookies()
    assert len(cookies) == 3
    foreign = user.open(f"http://{host}:{origin({'/': '<!doctype html><title>Elsewhere</title>', '/favicon.ico': ''}.get)}/")
    results = foreign.evaluate(ATTEMPTS, {"auth": services.auth, "resource": services.resource})
    assert len(results) == 12 and set(results.values()) == {"unread"}, results
    # A form needs no script, and its answer is shown: to the user, not to the page that sent it.
    foreign.evaluate("""(auth) => {
      const form = Object.assign(document.createElement('form'), {method: 'post', action: `${auth}/logout`});
      document.body.append(form);
      form.submit();
    }""", services.auth)
    foreign.wait_for_url(f"{services.auth}/logout")
    # On the same site the cookie came along, and the origin was refused; from another site it did not come at all.
    said = json.loads(foreign.locator("body").inner_text())["code"]
    assert said == ("origin_not_allowed" if host == "127.0.0.1" else "missing_token")
    # The token of the cookie is the one that it was, and has not been used up.
    assert user.context.cookies() == cookies
    page.reload()
    is_signed_in(page)
    expect(page.locator("#sessions li")).to_have_count(1)
    log = services.log.read_text().splitlines()
    lines = [json.loads(line) for line in log if line.startswith("{")]
    routes = [(line["route"], line["status"]) for line in lines if line.get("message") == "request"]
    assert [status for route, status in routes if route == "/logout" and status < 400] == []
    assert [status for route, status in routes if route == "/refresh" and status == 200] == [200], "the reload alone"
    user.complaints.clear()


def test_the_page_cannot_be_framed(stack, browser, origin):
    services, user = stack(), browser()
    port = origin({"/": f'<!doctype html><iframe src="{services.resource}/"></iframe>', "/favicon.ico": ""}.get)
    page = user.open(f"http://127.0.0.1:{port}/")
    frame = page.frames[1]
    assert "Sign in" not in frame.content()
    assert any("frame-ancestors" in complaint for complaint in user.complaints), user.complaints
    user.complaints.clear()
