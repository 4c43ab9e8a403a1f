"""The keyboard alone reaches what matters on every page."""

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.mark.parametrize(
    ("path", "role", "name"),
    [
        ("", "button", "Set the threshold"),
        ("cohort", "button", "Generate cohort"),
        ("train", "button", "Train both models"),
        ("customers", "combobox", "Customer"),
        ("plans", "slider", "Churn threshold"),
        ("plans", "button", "Download plans (CSV)"),
        ("paper", "button", "Run the paper"),
    ],
)
def test_the_keyboard_reaches_what_matters(open_page, path, role, name):
    page = open_page(path)
    wanted = page.get_by_role(role, name=name).first
    for _ in range(90):
        page.keyboard.press("Tab")
        if wanted.evaluate("e => e === document.activeElement || e.contains(document.activeElement)"):
            return
    pytest.fail(f"ninety times Tab, and {name} never had the focus")
