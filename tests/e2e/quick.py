"""The shipped rules with waits of seconds, for tests that cannot wait minutes."""

import pathlib
import subprocess

GENERATE = pathlib.Path(__file__).resolve().parents[2] / "deploy/alerts/generate"


def rules(*options):
    text = subprocess.check_output([GENERATE, *options], text=True)
    # Facts wait for five minutes, and the warning of an expiry gives way as much later to the critical alert.
    assert text.count("for: 5m\n") == 12 and text.count(" * 86400 - 300 ") == 2
    return text.replace("for: 5m\n", "for: 3s\n").replace(" * 86400 - 300 ", " * 86400 - 3 ")
