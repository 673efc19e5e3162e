"""The dashboard of a finished quick start, as a person reads it: in a real browser, with pictures of what it shows."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import tomlkit

selenium = pytest.importorskip("selenium", reason="needs selenium: pip install 'sfgsearch[test]'")

from selenium import webdriver  # noqa: E402 - after the skip
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SCREENSHOTS = ROOT / "output" / "screenshots"
WINDOW = 1400, 1100
_BARS = 250  # the browser's own, and the dashboard's at the top
FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


class Reader:
    """Somebody who looks at the dashboard.

    Args:
        driver: The browser.
        address: The address that ``sfgsearch dashboard`` printed.
    """

    def __init__(self, driver, address):
        self.driver, self.address = driver, address

    def open(self, page=""):
        self.driver.set_window_size(*WINDOW)
        self.driver.get(f"{self.address}{page}")

    def wait(self, condition, what):
        """Wait until something is there, and return it."""
        return WebDriverWait(self.driver, 60).until(lambda _: condition(), f"no {what} on {self.driver.current_url}")

    def all(self, selector):
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def text(self):
        return self.driver.find_element(By.TAG_NAME, "body").text

    def click(self, element):
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()

    def picture(self, name):
        """Take a picture of the whole page."""
        inner = "Math.max(...[...document.querySelectorAll('*')].map(element => element.scrollHeight))"
        height = self.driver.execute_script(f"return {inner}") + _BARS
        self.driver.set_window_size(WINDOW[0], max(min(height, 6000), WINDOW[1]))
        self.driver.execute_script("window.dispatchEvent(new Event('resize'))")
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.driver.save_screenshot(str(SCREENSHOTS / f"{name}.png"))


@pytest.fixture(scope="module")
def finished():
    """Give the study file of a quick start that ran to its end, with fewer epochs and seeds."""
    with tempfile.TemporaryDirectory() as folder:
        study = tomlkit.parse((ROOT / "studies" / "quickstart.toml").read_text())
        study.setdefault("training", tomlkit.table())["epochs"] = 2
        study.setdefault("comparison", tomlkit.table())["seeds"] = 2
        path = Path(folder) / "quickstart.toml"
        path.write_text(tomlkit.dumps(study))
        command = [sys.executable, "-m", "sfgsearch", "run", str(path)]
        subprocess.run(command, check=True, capture_output=True, timeout=600)
        yield path


@pytest.fixture(scope="module")
def driver():
    chromium, chromedriver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and chromedriver):
        pytest.skip("needs a browser (Debian: chromium, chromium-driver)")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = webdriver.ChromeOptions()
        options.binary_location = chromium
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(chromedriver))
        yield driver
        driver.quit()


@pytest.fixture(scope="module")
def reader(driver, finished):
    command = [sys.executable, "-m", "sfgsearch", "dashboard", str(finished)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        yield Reader(driver, process.stdout.readline().strip())
        process.terminate()


def column_of(reader, title):
    """Return the cells of a column of the table of trials, whether or not they are in sight."""
    script = """return [...document.querySelectorAll('table')].flatMap(table => {
        const place = [...table.querySelectorAll('th')].findIndex(head => head.textContent.startsWith(arguments[0]));
        return place < 0 ? [] : [...table.querySelectorAll('tbody tr')].map(row => row.children[place]?.textContent);
    })"""
    return [cell for cell in reader.driver.execute_script(script, title) if cell]


def test_trials_can_be_filtered_by_kind(reader):
    reader.open("/smartSelection")
    (head,) = reader.wait(lambda: [head for head in reader.all("th") if head.text == "Param kind"], "column of kinds")
    assert set(column_of(reader, "Param kind")) == {"learned", "searched", "manual"}
    reader.click(head.find_element(By.TAG_NAME, "button"))
    for kind in ("searched", "manual"):
        reader.click(
            reader.wait(
                lambda kind=kind: [e for e in reader.all("[role=menuitem]") if e.text == kind], f"choice {kind}"
            )[0]
        )
    reader.wait(lambda: set(column_of(reader, "Param kind")) == {"learned"}, "table of learned trials alone")
    assert len(column_of(reader, "Param kind")) == 3
    reader.driver.switch_to.active_element.send_keys(Keys.ESCAPE)
    reader.wait(lambda: not reader.all("[role=menuitem]"), "end of the menu")
    reader.picture("trials-learned")


def test_the_study_page_compares_the_kinds(reader):
    reader.open()
    reader.wait(lambda: len(reader.all(".gtitle")) >= 5, "five graphs of ours")
    assert any("finalists on test data" in title.text for title in reader.all(".gtitle"))
    reader.picture("study")
    text = reader.text()
    for row in ("learned-", "searched-", "single_task"):
        assert row in text
    assert "safetensors" not in text, "files of finalists would crowd the page"


def test_the_note_says_what_was_found(reader):
    reader.open("/note")
    reader.wait(lambda: "single_task" in reader.text(), "note")
    reader.picture("study-note")


def test_a_learned_trial_shows_its_allocation_and_note(reader):
    reader.open("/smartSelection")
    reader.wait(lambda: column_of(reader, "Param kind"), "table of trials")
    kinds, numbers = column_of(reader, "Param kind"), column_of(reader, "Number")
    reader.open(f"/trials?numbers={numbers[kinds.index('learned')]}")
    names = ("allocation.png", "probabilities.png", "simplex.png", "history.png", "activations.png", "layers.csv")
    reader.wait(lambda: all(name in reader.text() for name in names), "artifacts of the trial")
    loaded = "return [...document.images].filter(image => image.naturalWidth > 300).map(image => image.alt)"
    reader.wait(lambda: len(reader.driver.execute_script(loaded)) == 10, "pictures, in the note and as artifacts")
    assert "picture: allocation" in reader.driver.execute_script(loaded)
    assert "One seed (0), measured on the validation data" in reader.text(), "its note"
    width = reader.driver.execute_script("return document.documentElement.scrollWidth")
    assert width <= WINDOW[0], "nothing makes the page wider than the screen"
    reader.picture("trial-learned")
