"""What importing the package brings along."""

import subprocess
import sys


def test_drawing_with_plotly_is_loaded_when_it_is_used():
    code = (
        "import sys, sfgsearch\n"
        "print([name for name in ('plotly', 'optuna_dashboard', 'sfgsearch.visualization') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
