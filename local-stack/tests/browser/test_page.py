"""The demo page as its users see it, in a real browser."""

import contextlib
import re

from conftest import Gate, is_signed_in, post, sign_in
from playwright.sync_api import Error, expect

REFUSED = "Failed to load resource: the server responded with a status of 401 (Unauthorized)"
AWAY = "Failed to load resource: net::ERR_"


def expected(browser, text):
    """The browser itself complains of requests that fail; where that is what a test is about, it is no fault."""
    assert any(text in complaint for complaint in browser.complaints), browser.complaints
    browser.complaints = [complaint for complaint in browser.complaints if text not in complaint]


def claim(page, name):
    return page.locator(f"#claims dt:text-is('{name}') + dd").evaluate("value => value.firstChild.data")


def dashboards(browser):
    return [request.response().status for request in browser.sent("GET", "/dashboard") if request.response()]


def test_a_user_signs_in_and_sees_their_tokens_and_their_data(site, browser):
    services, user = site(), browser()
    page = user.open(services.page)
    expect(page.get_by_label("User name")).to_be_focused()
    assert user.sent("POST", "/refresh") == []
    sign_in(page)
    is_signed_in(page)
    assert claim(page, "preferred_username") == "cosmo"
    assert claim(page, "fresh") == "true"
    expect(page.locator("#access-left")).to_have_text(re.compile(r"^(15:00|14:\d\d)$"))
    expect(page.locator("#refresh-left")).to_have_text(re.compile(r"^(1:00:00|59:\d\d)$"))
    expect(page.locator("#dashboard")).to_contain_text("profile:read profile:write")
    expect(page.locator("#sessions li")).to_have_count(1)
    expect(page.locator("#sessions")).to_contain_text("this one")
    # Nothing that a script could take is left anywhere, and nothing was asked of anybody else.
    assert page.evaluate("document.cookie") == ""
    assert page.evaluate("JSON.stringify({...localStorage, ...sessionStorage})").count("eyJ") == 0
    cookies = {(cookie["path"], cookie["httpOnly"], cookie["sameSite"]) for cookie in user.context.cookies()}
    assert cookies == {(path, True, "Strict") for path in ("/login", "/refresh", "/logout")}
    assert user.origins() == {url.split("/")[2] for url in (services.auth, services.resource, services.page)}


def test_a_wrong_password_is_told_and_may_be_corrected(site, browser):
    services, user = site(), browser()
    page = user.open(services.page)
    sign_in(page, password="guess")
    expect(page.get_by_role("alert")).to_have_text("Bad username or password")
    expect(page.get_by_label("Password")).to_be_focused()
    expected(user, REFUSED)
    sign_in(page)
    is_signed_in(page)


def test_the_page_is_used_with_the_keyboard_alone(stack, browser):
    services, user = stack(), browser()
    page = user.open(services.page)
    expect(page.get_by_label("User name")).to_be_focused()
    page.keyboard.type("cosmo")
    page.keyboard.press("Tab")
    page.keyboard.type("space-corgi")
    page.keyboard.press("Enter")
    is_signed_in(page)
    expect(page.locator("#overview")).to_be_focused()
    reached = []
    for _ in range(5):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.name || document.activeElement.textContent.trim()"))
    assert reached == ["The token itself", "Refresh now", "display_name", "bio", "Save"]
    page.locator("#sign-out").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_label("User name")).to_be_focused()


def test_every_control_has_a_name_and_every_part_a_heading(stack, browser):
    services, user = stack(), browser()
    page = user.open(services.page)
    sign_in(page)
    is_signed_in(page)
    expect(page.locator("#sessions li")).to_have_count(1)
    for name in ["Access token", "Refresh token", "What happens", "Profile", "Dashboard", "Where you are signed in"]:
        expect(page.get_by_role("region", name=name, exact=True)).to_be_visible()
    for bar in ["Access token", "Refresh token"]:
        expect(page.get_by_role("progressbar", name=bar)).to_be_visible()
    for control in page.locator("button:visible, input:visible, textarea:visible").all():
        name = control.evaluate("it => it.ariaLabel || it.labels?.[0]?.textContent || it.textContent")
        assert name.strip(), control


def test_nothing_is_typed_into_a_profile_that_is_not_there_yet(stack, browser):
    services, user = stack(), browser()
    page = user.open(services.page)
    held = []
    page.route("**/profile", lambda route: held.append(route))
    sign_in(page)
    is_signed_in(page)
    expect(page.get_by_label("Display name")).not_to_be_editable()
    expect(page.get_by_label("About you")).not_to_be_editable()
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#profile-state")).to_have_text("Your profile is not here yet")
    while not held:
        page.wait_for_timeout(10)
    assert user.sent("PUT", "/profile") == []
    held.pop().continue_()
    expect(page.get_by_label("Display name")).to_be_editable()
    expect(page.get_by_label("About you")).to_be_editable()


def test_a_profile_that_could_not_be_read_is_read_later(stack, browser):
    services, user = stack(), browser()
    page = user.open(services.page)
    tries = []
    page.route("**/profile", lambda route: (tries.append(route), route.abort() if len(tries) == 1 else route.continue_()))
    sign_in(page)
    expect(page.locator("#notice")).to_contain_text("What you see may be old.")
    page.get_by_role("button", name="Refresh now").click()
    expect(page.get_by_label("Display name")).to_be_editable()
    expect(page.locator("#notice")).to_be_hidden()
    expected(user, AWAY)


def test_an_answer_for_one_user_that_comes_late_is_not_shown_to_the_next(stack, browser):
    services, user = stack(), browser()
    page = user.open(services.page)
    held = []
    page.route("**/profile", lambda route: held.append(route))
    sign_in(page)
    is_signed_in(page)
    while len(held) < 1:
        page.wait_for_timeout(10)
    page.get_by_role("button", name="Sign out", exact=True).click()
    post(f"{services.auth}/register", {"username": "laika", "password": "space-corgi"})
    sign_in(page, "laika")
    is_signed_in(page, "laika")
    while len(held) < 2:
        page.wait_for_timeout(10)
    cosmos = {"id": "x", "username": "cosmo", "display_name": "Cosmo", "bio": None, "updated_at": None}
    with contextlib.suppress(Error):
        held[0].fulfill(json=cosmos)
    held[1].continue_()
    expect(page.get_by_label("Display name")).to_be_editable()
    expect(page.get_by_label("Display name")).to_have_value("")


def test_who_saves_with_the_keyboard_keeps_their_place_and_saves_once(stack, browser):
    services, user = stack(), browser()
    page = user.open(services.page)
    sign_in(page)
    is_signed_in(page)
    page.get_by_label("Display name").fill("Cosmo")
    held = []
    page.route("**/profile", lambda route: held.append(route))
    save = page.get_by_role("button", name="Save")
    save.focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    expect(save).to_be_disabled()
    expect(save).to_be_focused()
    while not held:
        page.wait_for_timeout(10)
    held.pop().continue_()
    expect(page.locator("#profile-state")).to_have_text("Saved")
    expect(save).to_be_focused()
    assert len(user.sent("PUT", "/profile")) == 1


def test_a_profile_is_changed_and_what_is_wrong_with_it_is_told(site, browser):
    services, user = site(), browser()
    page = user.open(services.page)
    sign_in(page)
    is_signed_in(page)
    page.get_by_label("Display name").fill("Cosmo")
    page.get_by_label("About you").fill("A <b>corgi</b> in space.")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#profile-state")).to_have_text("Saved")
    page.reload()
    expect(page.get_by_label("Display name")).to_have_value("Cosmo")
    expect(page.get_by_label("About you")).to_have_value("A <b>corgi</b> in space.")
    page.get_by_label("Display name").fill("x" * 101)
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#error-display_name")).to_contain_text("100")
    expect(page.get_by_label("Display name")).to_have_attribute("aria-invalid", "true")
    expected(user, "status of 400")


def test_an_access_token_expires_under_the_page_and_nobody_notices(site, browser):
    services, user = site(JWT_ACCESS_TOKEN_EXPIRES="4s", AUTH_REFRESH_GRACE="1s"), browser()
    page = user.open(services.page)
    sign_in(page)
    is_signed_in(page)
    first = claim(page, "jti")
    expect(page.locator("#access-left")).to_have_text("0 s")
    # What the user does next is answered as if nothing were.
    page.get_by_label("Display name").fill("Cosmo")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#profile-state")).to_have_text("Saved")
    expect(page.locator("#events")).to_contain_text("Refreshed")
    assert claim(page, "jti") != first
    assert claim(page, "fresh") == "false"
    expect(page.locator("#notice")).to_be_hidden()
    # And what the page does by itself, when the next token has expired too.
    page.locator("#events .refreshed").nth(2).wait_for(timeout=60_000)
    assert set(dashboards(user)) == {200}
    expect(page.locator("#notice")).to_be_hidden()


def test_a_service_that_says_expired_all_the_same_is_asked_once_more(site, browser):
    services, user = site(JWT_ACCESS_TOKEN_EXPIRES="3s", AUTH_REFRESH_GRACE="1s"), browser()
    # To this page, what the token is good for looks longer than it is.
    user.context.route("**/login", lambda route: longer(route))
    page = user.open(services.page)
    sign_in(page)
    is_signed_in(page)
    page.wait_for_timeout(3100)
    page.get_by_label("Display name").fill("Cosmo")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#profile-state")).to_have_text("Saved")
    assert [request.response().status for request in user.sent("PUT", "/profile")] == [401, 200]
    expected(user, REFUSED)


def longer(route):
    answer = route.fetch()
    if route.request.method == "POST":
        route.fulfill(response=answer, json={**answer.json(), "expires_in": 900})
    else:
        route.fulfill(response=answer)


def test_a_reload_and_a_new_tab_go_on_where_the_user_was(site, browser):
    services, user = site(), browser()
    page = user.open(services.page)
    sign_in(page)
    is_signed_in(page)
    session = claim(page, "sid")
    page.reload()
    is_signed_in(page)
    assert claim(page, "sid") == session
    other = user.open(services.page)
    is_signed_in(other)
    assert claim(other, "sid") == session
    assert len(user.sent("POST", "/login")) == 1
    expect(other.locator("#sessions li")).to_have_count(1)


def test_two_tabs_that_need_a_token_at_once_ask_for_one(site, browser):
    services, user = site(JWT_ACCESS_TOKEN_EXPIRES="6s", AUTH_REFRESH_GRACE="1s"), browser()
    one = user.open(services.page)
    sign_in(one)
    is_signed_in(one)
    two = user.open(services.page)
    is_signed_in(two)
    for page in (one, two):
        expect(page.locator("#access-left")).to_have_text("0 s")
    before = len(user.sent("POST", "/refresh"))
    for page in (one, two):
        page.evaluate("() => { document.getElementById('profile').requestSubmit(document.querySelector('#profile button')); }")
    for page in (one, two):
        expect(page.locator("#profile-state")).to_have_text("Saved")
    assert len(user.sent("POST", "/refresh")) == before + 1
    assert claim(one, "jti") == claim(two, "jti")
    told = one.locator("#events").inner_text() + two.locator("#events").inner_text()
    assert "Another tab refreshed" in told


def test_two_tabs_without_locks_and_channel_stay_signed_in_all_the_same(stack, browser):
    services, user = stack(JWT_ACCESS_TOKEN_EXPIRES="4s"), browser()
    user.context.add_init_script("delete Navigator.prototype.locks; delete window.BroadcastChannel;")
    one = user.open(services.page)
    sign_in(one)
    is_signed_in(one)
    two = user.open(services.page)
    is_signed_in(two)
    for page in (one, two):
        expect(page.locator("#access-left")).to_have_text("0 s")
    for page in (one, two):
        page.evaluate("() => { document.getElementById('profile').requestSubmit(document.querySelector('#profile button')); }")
    for page in (one, two):
        expect(page.locator("#profile-state")).to_have_text("Saved")
        is_signed_in(page)


def test_signing_out_in_one_tab_is_seen_in_the_other(site, browser):
    services, user = site(), browser()
    one = user.open(services.page)
    sign_in(one)
    is_signed_in(one)
    two = user.open(services.page)
    is_signed_in(two)
    one.get_by_role("button", name="Sign out", exact=True).click()
    for page in (one, two):
        expect(page.get_by_label("User name")).to_be_visible()
        expect(page.get_by_role("status").first).to_have_text("You have signed out.")
        # Of what one user saw, the next sees nothing.
        assert "cosmo" not in page.locator("#signed-in").inner_text()
        expect(page.locator("#signed-in")).to_be_hidden()
    assert user.context.cookies() == []
    one.reload()
    expect(one.get_by_label("User name")).to_be_visible()
    assert len(user.sent("POST", "/refresh")) == 1, "the second tab's, and none by a page whose user has signed out"


def test_a_session_is_ended_from_another_browser(site, browser):
    services, phone, laptop = site(), browser(), browser()
    there = phone.open(services.page)
    sign_in(there)
    is_signed_in(there)
    here = laptop.open(services.page)
    sign_in(here)
    is_signed_in(here)
    expect(here.locator("#sessions li")).to_have_count(2)
    here.get_by_role("button", name=re.compile("^End the session of Chrome")).click()
    expect(here.locator("#sessions li")).to_have_count(1)
    # The other page asks of its own accord every ten seconds, or when the user does something.
    there.get_by_label("Display name").fill("x")
    there.get_by_role("button", name="Save").click()
    expect(there.get_by_label("User name")).to_be_visible()
    expect(there.locator("#notice")).to_contain_text("ended from elsewhere")
    expected(phone, REFUSED)
    is_signed_in(here)


def test_signing_out_everywhere_ends_all_sessions(site, browser):
    services, phone, laptop = site(), browser(), browser()
    there, here = phone.open(services.page), laptop.open(services.page)
    for page in (there, here):
        sign_in(page)
        is_signed_in(page)
    here.get_by_role("button", name="Sign out everywhere").click()
    expect(here.get_by_label("User name")).to_be_visible()
    assert laptop.context.cookies() == []
    there.get_by_role("button", name="Refresh now").click()
    expect(there.get_by_label("User name")).to_be_visible()
    expected(phone, REFUSED)


def test_auth_service_is_away_for_a_while(site, browser):
    services, user = site(JWT_ACCESS_TOKEN_EXPIRES="4s", AUTH_REFRESH_GRACE="1s"), browser()
    gate = Gate(services.auth_port)
    services.stop()
    services.settings["AUTH_PUBLIC_URL"] = f"http://127.0.0.1:{gate.port}"
    services.start()
    page = user.open(services.page)
    sign_in(page)
    is_signed_in(page)
    gate.close()
    expect(page.locator("#access-left")).to_have_text("0 s")
    page.get_by_label("Display name").fill("Cosmo")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#notice")).to_contain_text("cannot be reached")
    is_signed_in(page)
    page.reload()
    expect(page.locator("#notice")).to_contain_text("goes on trying")
    gate.open = True
    is_signed_in(page)
    expect(page.locator("#notice")).to_be_hidden()
    page.get_by_label("Display name").fill("Cosmo")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#profile-state")).to_have_text("Saved")
    assert len(user.sent("POST", "/login")) == 1
    expected(user, AWAY)


def test_another_name_of_this_machine_leads_to_the_page(stack, browser):
    services, user = stack(), browser()
    page = user.open(services.resource.replace("127.0.0.1", "localhost"))
    page.wait_for_url(f"{services.resource}/")
    sign_in(page)
    is_signed_in(page)


def test_the_page_fits_a_phone(stack, browser):
    services, user = stack(), browser(viewport={"width": 360, "height": 740}, is_mobile=True, has_touch=True)
    page = user.open(services.page)
    sign_in(page)
    is_signed_in(page)
    expect(page.locator("#sessions li")).to_have_count(1)
    page.evaluate("document.querySelector('details').open = true")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
