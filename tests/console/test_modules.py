"""What the console's modules do by themselves: their tests are written in their own language."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from autoheal.model import Kind, Reason
from tests.support.components import require

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
KEY = re.compile(r"""aria-keyshortcuts(?:'?: '|=")([^'"]+)""")


@pytest.mark.parametrize("file", sorted(path.name for path in HERE.glob("*.test.mjs")))
def test_in_javascript(file: str) -> None:
    """Every test of the file holds, by node's own runner."""
    argv = [require("node"), "--test", "--test-reporter=spec", str(HERE / file)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def test_every_key_is_documented() -> None:
    """The attribute that makes it one stands in the page or in a view; numbers are those of the views."""
    files = [path for path in (ROOT / "console").iterdir() if path.suffix in {".js", ".html"}]
    keys = {key for path in files for key in KEY.findall(path.read_text())}
    assert {"/", "p", "?", "Shift+P"} <= keys
    documented = (ROOT / "docs" / "console.md").read_text()
    assert [key for key in sorted(keys) if f"`{key}`" not in documented] == []


VOCABULARY = """
import { TONE_OF } from './console/tones.js';
import { SAID, spoken } from './console/words.js';
const words = JSON.parse(process.argv[1]);
console.log(JSON.stringify([[...TONE_OF.keys()], [...SAID.keys()], words.map(spoken)]));
"""


NEUTRAL = frozenset(
    (
        *("log_created", "log_opened", "snapshot", "checkpoint", "service_started", "service_stopped", "config_loaded"),
        *("alert_firing", "alert_disputed", "alert_undisputed", "alert_suspect", "decision", "approval_requested"),
        *("approval_granted", "approval_denied", "action_started", "cancel_requested", "action_cancelled"),
        *("rerun_requested", "storm_released", "storm_observed", "silence_requested", "silence_created"),
        *("silence_extended", "silence_expired", "ack_old", "paused", "resumed", "login", "logout"),
    )
)
"""Kinds that are neither a failure nor a success."""


def test_every_kind_and_reason_has_a_word() -> None:
    """Each its own; each kind that is not neutral has a tone, and no word is for what is no kind or reason any more."""
    for vocabulary in (list(Kind), list(Reason)):
        argv = [require("node"), "--input-type=module", "-e", VOCABULARY, json.dumps(vocabulary)]
        done = subprocess.run(argv, capture_output=True, text=True, check=True, cwd=ROOT)
        tones, said, words = json.loads(done.stdout)
        assert sorted((*tones, *NEUTRAL)) == sorted(Kind)
        assert set(said) <= {*Kind, *Reason}
        assert len(set(words)) == len(words)
        assert [word for word in words if "_" in word or not word] == []


def test_each_module_is_tested() -> None:
    """Of those that decide something without a page there are tests here; the rest is tested in a browser."""
    named = {path.name.removesuffix(".test.mjs") for path in HERE.glob("*.test.mjs")}
    views = {"asking", "cards", "rates", "words-run", "words-why"}
    assert {"api", "filter", "notices", "routes", "store", "stream", "time", "words", *views} <= named
