"""What importing the package brings along."""

import subprocess
import sys

STEPS = """
import sys
names = ("sfgsearch.visualization", "optuna_dashboard", "plotly", "sfgsearch.visualization.matplotlib._renderer")
def show():
    print(*(name for name in names if name in sys.modules))
import sfgsearch
show()
before = set(sys.modules)
from sfgsearch import visualization
import sfgsearch.visualization.data
show()
assert not any(name.startswith("matplotlib") for name in set(sys.modules) - before)
visualization.plot_history([])
show()
visualization.matplotlib.plot_history([])
show()
"""


def test_drawing_libraries_are_loaded_when_they_draw():
    done = subprocess.run([sys.executable, "-c", STEPS], capture_output=True, text=True, check=True)
    own, plotly, renderer = "sfgsearch.visualization", "plotly", "sfgsearch.visualization.matplotlib._renderer"
    assert done.stdout.splitlines() == ["", own, f"{own} {plotly}", f"{own} {plotly} {renderer}"]
