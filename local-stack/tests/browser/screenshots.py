"""Screenshots of the demo page in light, dark and on a phone: `pytest local-stack/tests/browser/screenshots.py`, then
`target/screenshots`."""

import pytest
from conftest import ROOT, is_signed_in, sign_in

LOOKS = {
    "light": {"viewport": {"width": 1200, "height": 900}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1200, "height": 900}, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 390, "height": 844}, "color_scheme": "light", "device_scale_factor": 2, "is_mobile": True, "has_touch": True},
}


@pytest.mark.parametrize("look", LOOKS)
def test_screenshots(stack, browser, look):
    folder = ROOT / "target/screenshots"
    folder.mkdir(exist_ok=True)
    services = stack(JWT_ACCESS_TOKEN_EXPIRES="60s")
    other = browser().open(services.resource)
    sign_in(other)
    is_signed_in(other)
    page = browser(**LOOKS[look]).open(services.resource)
    page.get_by_label("User name").wait_for()
    page.screenshot(path=folder / f"{look}-sign-in.png", full_page=True)
    sign_in(page)
    is_signed_in(page)
    page.get_by_label("Display name").fill("Cosmo")
    page.get_by_label("About you").fill("A corgi in space.")
    page.get_by_role("button", name="Save").click()
    page.get_by_text("Saved").wait_for()
    page.get_by_role("button", name="Refresh now").click()
    page.get_by_text("Refreshed: a new access token").wait_for()
    page.wait_for_timeout(1500)
    page.screenshot(path=folder / f"{look}.png", full_page=True)
    page.evaluate("document.querySelector('details').open = true")
    page.screenshot(path=folder / f"{look}-token.png", full_page=True)
