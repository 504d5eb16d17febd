"""The page in a real browser, where one is installed."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from olvido.audits.page import write_page

from . import sample

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
QUIET = (
    "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --allow-file-access-from-files --dump-dom"
).split()

MEASURE = """<!doctype html><title>measure</title>
<iframe src="report.html" width="375" height="800"></iframe>
<iframe src="report.html" width="1280" height="800"></iframe>
<pre></pre>
<script>
onload = () => {
  const told = [...document.querySelectorAll("iframe")].map((frame) => {
    const page = frame.contentDocument, width = frame.clientWidth;
    const wide = [...page.querySelectorAll("main *:not(svg *)")].filter((e) =>
      e.getBoundingClientRect().right > width + 1 && !e.closest(".scroll, .hidden"));
    const boxes = [...page.querySelectorAll(".scroll")];
    return {
      width,
      needs: page.documentElement.scrollWidth,
      over: [...page.querySelectorAll(".findings td")]
        .filter((e) => e.scrollWidth > e.clientWidth + 1).map((e) => e.innerText),
      wide: wide.map((e) => e.outerHTML.slice(0, 80)),
      pictures: [...page.querySelectorAll("svg")].map((e) => e.clientWidth),
      scrolls: boxes.filter((e) => e.scrollWidth > e.clientWidth).length,
    };
  });
  document.querySelector("pre").textContent = JSON.stringify(told);
};
</script>"""


@pytest.mark.slow
@pytest.mark.skipif(not any(map(shutil.which, BROWSERS)), reason="no Chromium is installed")
def test_the_page_fits_a_phone_and_a_desk(tmp_path: Path) -> None:
    given = sample.failed()
    given["findings"][0]["exhibit"]["rows"][0]["candidate"] = "Llanfairpwllgwyngyll" * 20
    given["grounds"].append(sample.reason("recall", "a-reason-without-a-single-space-" * 10))
    given["name"] = "a" * 200
    write_page(given, tmp_path / "report.html", others=[sample.document(name="rmu")])
    (tmp_path / "measure.html").write_text(MEASURE, encoding="utf-8")
    browser = next(found for found in map(shutil.which, BROWSERS) if found)
    # A browser of its own, so that neither its settings nor another test's matter.
    home = f"--user-data-dir={tmp_path / 'browser'}"
    command = [browser, *QUIET, home, (tmp_path / "measure.html").as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    found = re.search(r"<pre>(.+?)</pre>", done.stdout)
    assert found is not None, done.stdout[-500:]
    phone, desk = json.loads(found[1].replace("&lt;", "<").replace("&gt;", ">"))
    for seen in (phone, desk):
        assert seen["needs"] <= seen["width"], seen
        assert (seen["wide"], seen["over"]) == ([], [])
        assert min(seen["pictures"]) >= 250
    assert phone["scrolls"] > desk["scrolls"]
