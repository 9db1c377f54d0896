"""The dashboard in a real browser, headless. Skipped where Chromium or its driver is not installed, unless the variable
EXPLORER_REQUIRE_BROWSER is 1; screenshots go to the folder named by EXPLORER_SCREENSHOTS, else to pytest's own."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from explorer.storage import trial_record as record
from explorer.storage.connection import load_study
from tests.explorer.commands.test_dashboard_command import serving
from tests.support import dashboard_study
from tests.support.forked_processes import PATIENCE

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1500,1700",
)


def _found(*names: str) -> str:
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        why = f"no {' or '.join(names)} is installed: apt-get install chromium chromium-driver"
        if os.environ.get("EXPLORER_REQUIRE_BROWSER") == "1":
            pytest.fail(why)
        pytest.skip(why)
    return path


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    browser, driver = _found("chromium", "chromium-browser", "google-chrome"), _found("chromedriver")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "SEVERE"})
    opened = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield opened
    opened.quit()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    url = f"sqlite:///{tmp_path_factory.mktemp('storage')}/studies.db"
    dashboard_study.run(url)
    return url


@pytest.fixture(scope="module")
def address(url: str, tmp_path_factory: pytest.TempPathFactory, browser: Any) -> Iterator[str]:
    with serving("--storage", url, folder=tmp_path_factory.mktemp("temporary")) as (_, address):
        yield f"http://{address}"


@pytest.fixture
def keep(browser: Any, tmp_path: Path) -> Callable[[str], Path]:
    """Keep a screenshot under a name."""
    folder = Path(os.environ.get("EXPLORER_SCREENSHOTS") or tmp_path)

    def keep(name: str) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        assert browser.save_screenshot(str(folder / f"{name}.png"))
        return folder / f"{name}.png"

    return keep


def see(browser: Any, text: str) -> Any:
    """The element that has this text, once it is there; scrolled to."""
    from selenium.webdriver.support.ui import WebDriverWait

    find = f'//*[text()[contains(., "{text}")]]'
    element = WebDriverWait(browser, PATIENCE).until(lambda b: next(iter(b.find_elements("xpath", find)), None), text)
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
    return element


def test_a_study_is_opened_and_its_figures_are_seen(browser: Any, address: str, keep: Callable[[str], Path]) -> None:
    browser.get(f"{address}/")
    see(browser, dashboard_study.NAME).click()
    see(browser, "Infeasible")  # in the legend of the timeline: trials over a budget have a colour of their own
    see(browser, "Hypervolume: what the front has gained")
    see(browser, "DER against latency")
    see(browser, "ring: fixed point")
    labels = [label.text for label in browser.find_elements("css selector", ".annotation-text")]
    assert "baseline" in labels
    picture = keep("dashboard-figures")
    assert picture.stat().st_size > 50_000  # not a blank page
    assert [entry for entry in browser.get_log("browser") if "favicon" not in entry["message"]] == []


def test_the_note_of_the_study(browser: Any, address: str, keep: Callable[[str], Path]) -> None:
    browser.get(f"{address}/dashboard/studies/1/note")
    see(browser, "Front and fixed points")
    headings = [cell.text for cell in browser.find_elements("css selector", "table th")]
    assert {"origin", "DER %", "standing"} <= {heading.strip() for heading in headings}  # a table, not its Markdown
    keep("dashboard-note")


def test_a_trial_has_a_note_and_artifacts(browser: Any, address: str, keep: Callable[[str], Path]) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    browser.get(f"{address}/dashboard/studies/1/trials?numbers=0")
    see(browser, "Trial 0: baseline")
    see(browser, "trial-0-recordings.csv")
    plot = browser.find_element("css selector", 'img[src*="/artifacts/1/"]')
    drawn = "return arguments[0].complete && arguments[0].naturalWidth"
    assert WebDriverWait(browser, PATIENCE).until(lambda b: b.execute_script(drawn, plot)) > 500
    keep("dashboard-trial")
    browser.get(plot.get_attribute("src"))
    keep("dashboard-artifact")


@pytest.mark.parametrize("kind", ["infeasible", "over budget"])
def test_an_infeasible_trial_shows_as_infeasible(
    browser: Any, address: str, url: str, keep: Callable[[str], Path], kind: str
) -> None:
    number = dashboard_study.kinds(load_study(dashboard_study.NAME, url).trials)[kind]
    browser.get(f"{address}/dashboard/studies/1/trials?numbers={number}")
    see(browser, f"Trial {number}: ")
    assert see(browser, "Infeasible").tag_name == "strong"
    keep(f"dashboard-{kind.replace(' ', '-')}")


def test_nothing_that_is_clicked_deletes_the_study(browser: Any, address: str, url: str) -> None:
    browser.get(f"{address}/dashboard")
    see(browser, dashboard_study.NAME)
    status = browser.execute_async_script(
        "const told = arguments[arguments.length - 1];"
        "fetch('/api/studies/1', {method: 'DELETE', headers: {'Content-Type': 'application/json'}, body: '{}'})"
        ".then(answer => told(answer.status))"
    )
    assert status == 403
    assert record.origin_of(load_study(dashboard_study.NAME, url).trials[0]) == "baseline"
