"""The shipped rules with waits of seconds, for tests that cannot wait minutes."""

import pathlib
import subprocess

GENERATE = pathlib.Path(__file__).resolve().parents[2] / "deploy/alerts/generate"


def rules(*options):
    text = subprocess.check_output([GENERATE, *options], text=True)
    # Facts wait for five minutes, and what another alert takes over from ends as much later.
    for wait, count in ((" * 86400 - 300 ", 2), (" / 10 - 300)", 1), (" < time() - 300)", 1)):
        assert text.count(wait) == count, wait
        text = text.replace(wait, wait.replace("300", "3"))
    for wait, count, short in (("for: 5m\n", 16, "for: 3s\n"), ("for: 15m\n", 1, "for: 4s\n")):
        assert text.count(wait) == count, wait
        text = text.replace(wait, short)
    return text
